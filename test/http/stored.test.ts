/** What is kept, for how long, and what a retry gets otherwise. */
import { expect, test } from "vitest";
import { idempotency, storeServerErrors, type HttpOptions, type Store } from "../../src/index.js";
import { memoryStore } from "../../stores/memory.js";
import { fakeClock } from "../support/clock.js";
import { listen } from "../support/events.js";
import { serve } from "../support/http.js";

const TTL_MS = 60_000;

/** Answers each run with the next of the given statuses. */
function answering(
  statuses: readonly number[],
  options: Partial<HttpOptions> = {},
  store: Store = memoryStore(),
) {
  let runs = 0;
  const safe = idempotency(store, options);
  return safe.wrap((_, res) => {
    runs += 1;
    res.writeHead(statuses[runs - 1] ?? 200).end(`run ${runs}`);
  });
}

test.each([200, 201, 204, 301, 400, 402, 404, 409, 422])(
  "D8: a %i is a result: the retry gets it again",
  async (status) => {
    await using server = await serve(answering([status, 200]));

    await server.send({ key: "k" });
    expect(await server.send({ key: "k" })).toMatchObject({ status });
  },
);

test.each([408, 425, 429, 500, 502, 503])(
  "C29: a %i is not kept: the key is free again, and says so",
  async (status) => {
    using events = listen();
    await using server = await serve(answering([status, 200]));

    expect(await server.send({ key: "k" })).toMatchObject({ status, text: "run 1" });
    expect(await server.send({ key: "k" })).toMatchObject({ status: 200, text: "run 2" });
    expect(events.all).toEqual([
      expect.objectContaining({ type: "released", reason: "not-to-store" }),
    ]);
  },
);

test("C29: with storeServerErrors a 500 is kept, as Stripe does, and a 429 is not", async () => {
  const shouldStore = storeServerErrors;
  await using failing = await serve(answering([500, 200], { shouldStore }));
  await using throttling = await serve(answering([429, 200], { shouldStore }));

  await failing.send({ key: "k" });
  expect(await failing.send({ key: "k" })).toMatchObject({ status: 500, text: "run 1" });
  await throttling.send({ key: "k" });
  expect(await throttling.send({ key: "k" })).toMatchObject({ status: 200, text: "run 2" });
});

test("what the value of a field names is kept, unless the field is Connection", async () => {
  const safe = idempotency(memoryStore());
  const fields = { "X-Related": "ETag", ETag: '"1"', Connection: "X-Hop", "X-Hop": "1" };
  await using server = await serve(safe.wrap((_, res) => res.writeHead(201, fields).end()));

  await server.send({ key: "k" });
  const { headers } = await server.send({ key: "k" });
  expect(headers).toMatchObject({ "x-related": "ETag", etag: '"1"' });
  expect(headers).not.toHaveProperty("x-hop");
});

test("shouldStore sees the response and decides", async () => {
  const shouldStore: HttpOptions["shouldStore"] = ({ body }) =>
    !Buffer.from(body).equals(Buffer.from("run 1"));
  await using server = await serve(answering([200, 200, 200], { shouldStore }));

  await server.send({ key: "k" });
  expect(await server.send({ key: "k" })).toMatchObject({ text: "run 2" });
  expect(await server.send({ key: "k" })).toMatchObject({ text: "run 2" });
});

test("P6: a shouldStore that throws keeps the response: a broken hook must not run a payment twice", async () => {
  using events = listen();
  const shouldStore = () => {
    throw new Error("typo");
  };
  await using server = await serve(answering([500, 200], { shouldStore }));

  await server.send({ key: "k" });

  expect(await server.send({ key: "k" })).toMatchObject({ status: 500, text: "run 1" });
  expect(events.all).toEqual([
    expect.objectContaining({ type: "hook-failed", hook: "shouldStore" }),
  ]);
});

test("C28: rejections are never stored: neither a 422 nor a 409 replaces the record", async () => {
  await using server = await serve(answering([201]));

  await server.send({ key: "k", body: "one" });
  expect(await server.send({ key: "k", body: "two" })).toMatchObject({ status: 422 });
  const again = await server.send({ key: "k", body: "two" });
  expect(again.status).toBe(422);
  expect(again.headers["idempotency-replayed"]).toBeUndefined();
  expect(await server.send({ key: "k", body: "one" })).toMatchObject({
    status: 201,
    text: "run 1",
  });
});

test("C4, C23: a response is replayed until its TTL is over, counted from its end, then the request runs again", async () => {
  using clock = fakeClock();
  await using server = await serve(answering([201, 201], { ttlMs: TTL_MS }));
  await server.send({ key: "k" });

  await clock.advance(TTL_MS - 1);
  expect(await server.send({ key: "k" })).toMatchObject({ text: "run 1" });
  await clock.advance(1);
  expect(await server.send({ key: "k" })).toMatchObject({ text: "run 2" });
});

test("C22: an empty response is a response: its retry is a replay, not an eternal 409", async () => {
  await using server = await serve(answering([204, 200]));

  await server.send({ key: "k" });
  const retry = await server.send({ key: "k" });

  expect(retry).toMatchObject({ status: 204, text: "" });
  expect(retry.headers["idempotency-replayed"]).toBe("true");
});

test("P6: a retry of a request whose response was too large gets 410 and does not run", async () => {
  using events = listen();
  await using server = await serve(answering([201, 201], { maxResponseBytes: 3 }));
  expect(await server.send({ key: "k" })).toMatchObject({ status: 201, text: "run 1" });

  const retry = await server.send({ key: "k" });

  expect(retry.status).toBe(410);
  expect(retry.headers["retry-after"]).toBeUndefined();
  expect(JSON.parse(retry.text)).toMatchObject({
    code: "RESPONSE_NOT_KEPT",
    type: "urn:problem-type:idempotency-kit:response-not-kept",
    detail: expect.stringContaining("processed with status 201"),
  });
  expect(events.all).toEqual([
    expect.objectContaining({ type: "tombstoned", reason: "too-large" }),
  ]);
});

test("a store that keeps a tombstone in the place of a response has the retry told so", async () => {
  const store = memoryStore();
  const set: Store["set"] = (lease, response, ttlMs) =>
    store.set(lease, { ...response, body: Buffer.alloc(0), tombstone: "not-storable" }, ttlMs);
  await using server = await serve(answering([201], {}, { ...store, set }));

  expect(await server.send({ key: "k" })).toMatchObject({ status: 201, text: "run 1" });
  const retry = await server.send({ key: "k" });
  expect(retry.status).toBe(410);
  expect(retry.text).toContain("could not be stored");
});

test("a handler may say that its answer is no result: it is sent, and a retry runs again", async () => {
  let runs = 0;
  const safe = idempotency(memoryStore());
  await using server = await serve(
    safe.wrap((req, res) => {
      runs += 1;
      if (runs === 1) req.idempotency?.doNotStore();
      res.end(`run ${runs}`);
    }),
  );

  expect(await server.send({ key: "k" })).toMatchObject({ status: 200, text: "run 1" });
  expect(await server.send({ key: "k" })).toMatchObject({ text: "run 2" });
  expect(await server.send({ key: "k" })).toMatchObject({ text: "run 2" });
});

test("C28: a middleware does not store the refusal of another one inside it", async () => {
  const store = memoryStore();
  const outer = idempotency(memoryStore());
  const inner = idempotency(store);
  let runs = 0;
  await using server = await serve(
    outer.wrap(
      inner.wrap((_, res) => {
        runs += 1;
        res.end("paid");
      }),
    ),
  );
  await using other = await serve(inner.wrap((_, res) => res.end("paid elsewhere")));
  await other.send({ key: "k", body: "another payload" });

  expect(await server.send({ key: "k" })).toMatchObject({ status: 422 });
  const again = await server.send({ key: "k" });

  expect(again.status).toBe(422);
  expect(again.headers["idempotency-replayed"]).toBeUndefined();
  expect(runs).toBe(0);
});

test("a middleware that is mounted twice does not wait for itself", async () => {
  const safe = idempotency(memoryStore());
  await using server = await serve(safe.wrap(safe.wrap((_, res) => res.end("paid"))));

  expect(await server.send({ key: "k" })).toMatchObject({ status: 200, text: "paid" });
  expect(await server.send({ key: "k" })).toMatchObject({
    text: "paid",
    headers: { "idempotency-replayed": "true" },
  });
});

test("C21: a handler that throws once it has answered has answered: the key keeps the result", async () => {
  const errors: unknown[] = [];
  const safe = idempotency(memoryStore(), { onError: (error) => errors.push(error) });
  await using server = await serve(
    safe.wrap((_, res) => {
      res.end("paid");
      throw new Error("too late");
    }),
  );

  expect(await server.send({ key: "k" })).toMatchObject({ status: 200, text: "paid" });
  expect(await server.send({ key: "k" })).toMatchObject({ text: "paid" });
  expect(errors).toEqual([expect.objectContaining({ message: "too late" })]);
});
