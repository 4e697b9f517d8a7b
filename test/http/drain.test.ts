/** A clean shutdown: nothing new starts, nothing that ran is lost. */
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { expect, test } from "vitest";
import { idempotency, type Store } from "../../src/index.js";
import { memoryStore } from "../../stores/memory.js";
import { fakeClock } from "../support/clock.js";
import { deferred } from "../support/deferred.js";
import { send, serve } from "../support/http.js";

test("drain takes no new keys and resolves when the running request is answered", async () => {
  const started = deferred();
  const gate = deferred();
  const safe = idempotency(memoryStore(), { onError: () => {} });
  await using server = await serve(
    safe.wrap(async (_, res) => {
      started.resolve();
      await gate.promise;
      res.end("done");
    }),
  );
  const first = server.send({ key: "k" });
  await started.promise;

  let drained = false;
  const drain = safe.drain().then(() => (drained = true));
  const refused = await server.send({ key: "other" });
  expect(refused.status).toBe(503);
  expect(refused.headers["retry-after"]).toBe("1");
  expect(JSON.parse(refused.text)).toMatchObject({ code: "DRAINING" });
  expect(drained).toBe(false);
  gate.resolve();

  expect(await first).toMatchObject({ status: 200, text: "done" });
  await drain;
});

test("drain waits for the last of several requests", async () => {
  const gates = new Map([
    ["/1", deferred()],
    ["/2", deferred()],
  ]);
  const running = deferred();
  let started = 0;
  const safe = idempotency(memoryStore());
  await using server = await serve(
    safe.wrap(async (req, res) => {
      started += 1;
      if (started === gates.size) running.resolve();
      await gates.get(req.url ?? "")?.promise;
      res.end("done");
    }),
  );
  const answers = [...gates.keys()].map((path, at) => server.send({ key: `k${at}`, path }));
  await running.promise;

  let drained = false;
  const drain = safe.drain().then(() => (drained = true));
  gates.get("/1")?.resolve();
  expect(await answers[0]).toMatchObject({ status: 200 });
  expect(drained).toBe(false);
  gates.get("/2")?.resolve();

  expect(await answers[1]).toMatchObject({ status: 200 });
  await drain;
});

test("drain resolves at once where nothing runs", async () => {
  await expect(idempotency(memoryStore()).drain()).resolves.toBeUndefined();
});

test("drain waits for responses that the store has not taken yet", async () => {
  using clock = fakeClock();
  const store = memoryStore();
  let down = true;
  const set: Store["set"] = async (...args) => {
    if (down) throw new Error("down");
    return await store.set(...args);
  };
  const safe = idempotency({ ...store, set }, { onError: () => {} });
  await using server = await serve(safe.wrap((_, res) => res.end("done")));
  expect(await server.send({ key: "k" })).toMatchObject({ status: 503 });

  let drained = false;
  const drain = safe.drain().then(() => (drained = true));
  await clock.advance(20_000);
  expect(drained).toBe(false);
  down = false;
  await clock.advance(20_000);
  await drain;

  const after = idempotency(store);
  await using next = await serve(after.wrap((_, res) => res.end("again")));
  expect(await next.send({ key: "k" })).toMatchObject({ status: 200, text: "done" });
});

test("a server that closes while a response is being stored sends it all the same", async () => {
  const store = memoryStore();
  const storing = deferred();
  const gate = deferred();
  const set: Store["set"] = async (...args) => {
    storing.resolve();
    await gate.promise;
    return await store.set(...args);
  };
  const safe = idempotency({ ...store, set });
  const server = createServer(safe.wrap((_, res) => res.end("paid")));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const answer = send((server.address() as AddressInfo).port, { key: "k" });
  await storing.promise;

  // Closes idle connections at once, and takes one for idle whose response looks finished.
  const closed = once(server.close(), "close");
  gate.resolve();

  expect(await answer).toMatchObject({ status: 200, text: "paid" });
  await closed;
});
