import { expect, test } from "vitest";
import { idempotency, type Store } from "../../src/index.js";
import { memoryStore } from "../../stores/memory.js";
import { serve } from "../support/http.js";

test("a retry gets the very same answer, and the handler runs once", async () => {
  let runs = 0;
  const safe = idempotency(memoryStore());
  await using server = await serve(
    safe.wrap((_, res) => {
      runs += 1;
      res.writeHead(201, { Location: "/payments/1" }).end(`charge ${runs}`);
    }),
  );

  const first = await server.send({ key: "k", body: "{}" });
  const retry = await server.send({ key: "k", body: "{}" });

  expect(first).toMatchObject({ status: 201, text: "charge 1" });
  expect(first.headers["idempotency-replayed"]).toBeUndefined();
  expect(retry).toMatchObject({ status: 201, text: "charge 1" });
  expect(retry.headers).toMatchObject({ "idempotency-replayed": "true", location: "/payments/1" });
  expect(runs).toBe(1);
});

test("a store is six methods: with no more than these a retry is replayed", async () => {
  const store = memoryStore();
  // Compiles as long as no seventh is required.
  const six: Store = {
    get: (key) => store.get(key),
    lock: (...claim) => store.lock(...claim),
    extend: (...renewal) => store.extend(...renewal),
    set: (...result) => store.set(...result),
    unlock: (lease) => store.unlock(lease),
    delete: (key) => store.delete(key),
  };
  await using server = await serve(
    idempotency(six).wrap((_, res) => res.end(String(Math.random()))),
  );

  const first = await server.send({ key: "k" });
  const retry = await server.send({ key: "k" });

  expect(retry).toMatchObject({ text: first.text, headers: { "idempotency-replayed": "true" } });
});
