/** `commitWith`: a handler's own writes and its answer, stored together or not at all. */
import type { ServerResponse } from "node:http";
import { expect, test } from "vitest";
import {
  idempotency,
  StoreUnavailableError,
  type HttpOptions,
  type IdempotencyContext,
  type IdempotentRequest,
  type Store,
} from "../../src/index.js";
import { memoryStore } from "../../stores/memory.js";
import { fakeClock } from "../support/clock.js";
import { deferred } from "../support/deferred.js";
import { listen } from "../support/events.js";
import { serve } from "../support/http.js";
import { ledgerStore } from "../support/ledger-store.js";

const LEASE_MS = 9_000;

type Committing = (
  commitWith: IdempotencyContext["commitWith"],
  res: ServerResponse,
  run: number,
) => unknown;

/** A server whose handler commits; errors of the kit go nowhere. */
function committing(store: Store, handler: Committing, options: Partial<HttpOptions> = {}) {
  let runs = 0;
  const safe = idempotency(store, { leaseMs: LEASE_MS, onError: () => {}, ...options });
  return safe.wrap((req: IdempotentRequest, res) => {
    runs += 1;
    const { idempotency: context } = req;
    return handler(async (...args) => (await context?.commitWith(...args)) === true, res, runs);
  });
}

test("the writes and the answer are stored together, and a retry gets the same answer", async () => {
  const store = ledgerStore();
  // Whatever a handler throws after its commit, no client hears of.
  const told = deferred<boolean>();
  const handler = committing(store, async (commitWith, res) => {
    res.setHeader("X-Payment", "p1");
    told.resolve(await commitWith([{ name: "p1" }], { statusCode: 201, body: { paid: true } }));
  });
  await using server = await serve(handler);

  const first = await server.send({ key: "k" });
  const retry = await server.send({ key: "k" });

  for (const answer of [first, retry]) {
    expect(answer).toMatchObject({ status: 201, text: '{"paid":true}' });
    expect(answer.headers).toMatchObject({
      "content-type": "application/json",
      "content-length": "13",
      "x-payment": "p1",
    });
  }
  expect(first.headers).not.toHaveProperty("idempotency-replayed");
  expect(retry.headers).toHaveProperty("idempotency-replayed", "true");
  expect(await told.promise).toBe(true);
  expect(store.ledger).toEqual([{ name: "p1" }]);
});

test.each([
  ["text", "paid", "paid"],
  ["bytes", new Uint8Array([0xc3, 0xa9]), "é"],
  ["nothing", undefined, ""],
  ["JSON null", null, "null"],
])("an answer may be %s", async (_, body, text) => {
  const handler = committing(ledgerStore(), (commitWith) => commitWith([], { body }));
  await using server = await serve(handler);

  expect(await server.send({ key: "k" })).toMatchObject({ status: 200, text });
  expect(await server.send({ key: "k" })).toMatchObject({ status: 200, text });
});

test("fields of the answer replace those set before, repetitions stay, and cookies go to the first client alone", async () => {
  const handler = committing(ledgerStore(), (commitWith, res) => {
    res.setHeader("Content-Type", "text/html").setHeader("X-Old", "1");
    const headers = { "content-type": "text/plain", Vary: ["A", "B"], "Set-Cookie": "s=1" };
    return commitWith([], { headers, body: "text" });
  });
  await using server = await serve(handler);

  const first = await server.send({ key: "k" });
  const retry = await server.send({ key: "k" });

  const fields = { "content-type": "text/plain", vary: "A, B", "x-old": "1" };
  expect(first.headers).toMatchObject({ ...fields, "set-cookie": ["s=1"] });
  expect(retry.headers).toMatchObject(fields);
  expect(retry.headers).not.toHaveProperty("set-cookie");
});

test("a 204 has no body, whatever the handler gives it", async () => {
  const handler = committing(ledgerStore(), (commitWith) =>
    commitWith([], { statusCode: 204, body: "x" }),
  );
  await using server = await serve(handler);

  await server.send({ key: "k" });
  expect(await server.send({ key: "k" })).toMatchObject({ status: 204, text: "" });
});

test("the answer leaves when it is committed, however long the handler goes on", async () => {
  const goOn = deferred();
  const handler = committing(ledgerStore(), async (commitWith, res) => {
    await commitWith([], { body: "done" });
    await goOn.promise;
    res.end("ignored");
    throw new Error("ignored as well");
  });
  await using server = await serve(handler);

  expect(await server.send({ key: "k" })).toMatchObject({ status: 200, text: "done" });
  goOn.resolve();
  expect(await server.send({ key: "k" })).toMatchObject({ status: 200, text: "done" });
});

test("refused writes come back to the handler, which keeps its lease and answers otherwise", async () => {
  using clock = fakeClock();
  using events = listen();
  const [refused, answer] = [deferred<unknown>(), deferred()];
  const store = ledgerStore();
  const handler = committing(store, async (commitWith, res, run) => {
    if (run === 1) return await commitWith([{ name: "p1" }], { body: "first" });
    await commitWith([{ name: "new" }, { name: "p1" }], { body: "second" }).catch(refused.resolve);
    await answer.promise;
    return res.writeHead(409).end("taken");
  });
  await using server = await serve(handler);
  await server.send({ key: "first" });

  const second = server.send({ key: "second" });
  expect(await refused.promise).toMatchObject({
    code: "COMMIT_REFUSED",
    reasons: [undefined, { name: "p1" }],
  });
  for (let lease = 0; lease < 3; lease += 1) await clock.advance(LEASE_MS);
  answer.resolve();

  expect(await second).toMatchObject({ status: 409, text: "taken" });
  expect(await server.send({ key: "second" })).toMatchObject({ status: 409, text: "taken" });
  expect(store.ledger).toEqual([{ name: "p1" }]);
  expect(events.all).toEqual([]);
});

test("refused writes that the handler does not catch fail it, and the key is free", async () => {
  const store = ledgerStore();
  const handler = committing(store, (commitWith, _, run) =>
    commitWith(run === 1 ? [] : [{ name: `p${run % 2}` }], { body: `run ${run}` }),
  );
  await using server = await serve(handler);
  await server.send({ key: "a" });
  await server.send({ key: "b" });
  await server.send({ key: "c" });

  const failed = await server.send({ key: "d" });
  expect(failed.status).toBe(500);
  expect(JSON.parse(failed.text)).toMatchObject({ code: "HANDLER_FAILED" });
  expect(await server.send({ key: "d" })).toMatchObject({ status: 500 });
  expect(store.ledger).toEqual([{ name: "p0" }, { name: "p1" }]);
});

test("P5: a holder that lost its lease writes nothing, and answers with its successor's result", async () => {
  using clock = fakeClock();
  using _events = listen();
  const [started, goOn, committed] = [deferred(), deferred(), deferred<boolean>()];
  const store = ledgerStore();
  let cutOff = true;
  const extend: Store["extend"] = (lease, leaseMs) =>
    cutOff ? Promise.reject(new StoreUnavailableError("cut off")) : store.extend(lease, leaseMs);
  const handler = committing({ ...store, extend }, async (commitWith, _, run) => {
    if (run === 1) {
      started.resolve();
      await goOn.promise;
    }
    const stored = await commitWith([{ name: `p${run}` }], { body: `run ${run}` });
    if (run === 1) committed.resolve(stored);
  });
  await using server = await serve(handler);

  const first = server.send({ key: "k" });
  await started.promise;
  await clock.advance(LEASE_MS);
  cutOff = false;
  expect(await server.send({ key: "k" })).toMatchObject({ text: "run 2" });
  goOn.resolve();

  expect(await first).toMatchObject({ status: 200, text: "run 2" });
  expect(await committed.promise).toBe(false);
  expect(store.ledger).toEqual([{ name: "p2" }]);
});

test("a commit of unknown outcome is answered 503 and repeated: written once, and replayed", async () => {
  using clock = fakeClock();
  using events = listen();
  const store = ledgerStore();
  let lost = 0;
  const commit: typeof store.commit = async (...args) => {
    const result = await store.commit(...args);
    lost += 1;
    if (lost === 1) throw new StoreUnavailableError("the reply was lost");
    return result;
  };
  const handler = committing({ ...store, commit }, async (commitWith) => {
    expect(await commitWith([{ name: "p1" }], { body: "paid" })).toBe(false);
  });
  await using server = await serve(handler);

  expect(await server.send({ key: "k" })).toMatchObject({ status: 503 });
  await clock.advance(LEASE_MS);

  expect(await server.send({ key: "k" })).toMatchObject({ status: 200, text: "paid" });
  expect(store.ledger).toEqual([{ name: "p1" }]);
  expect(events.all.map(({ type }) => type)).toEqual(["response-pending", "response-settled"]);
});

test("a commit that is refused when it is repeated is given up", async () => {
  using clock = fakeClock();
  using events = listen();
  const store = ledgerStore();
  let calls = 0;
  const commit: typeof store.commit = async (...args) => {
    calls += 1;
    if (calls === 1) throw new StoreUnavailableError("the request was lost");
    return await store.commit(...args);
  };
  await store.commit(await leaseOn(store, "other"), recorded(), 60_000, [{ name: "p1" }]);
  const handler = committing({ ...store, commit }, (commitWith) =>
    commitWith([{ name: "p1" }], { body: "paid" }),
  );
  await using server = await serve(handler);

  await server.send({ key: "k" });
  for (let lease = 0; lease < 5; lease += 1) await clock.advance(LEASE_MS);

  expect(calls).toBe(2);
  expect(events.all.map(({ type }) => type)).toEqual(["response-pending", "response-given-up"]);
});

test("a handler that ends its response while it commits is answered by the commit", async () => {
  const handler = committing(ledgerStore(), async (commitWith, res) => {
    const committed = commitWith([], { body: "committed" });
    res.end("written");
    await committed;
  });
  await using server = await serve(handler);

  expect(await server.send({ key: "k" })).toMatchObject({ text: "committed" });
  expect(await server.send({ key: "k" })).toMatchObject({ text: "committed" });
});

test.each<[string, Committing, RegExp]>([
  [
    "twice",
    async (commitWith) => {
      await Promise.all([commitWith([], {}), commitWith([], {})]);
    },
    /called already/,
  ],
  [
    "after writing",
    async (commitWith, res) => {
      res.write("begun");
      await commitWith([], {});
    },
    /begun already/,
  ],
  [
    "with more than is kept",
    (commitWith) => commitWith([], { body: "x".repeat(101) }),
    /maxResponseBytes is 100/,
  ],
  [
    "with a field that cannot be sent",
    (commitWith) => commitWith([], { headers: { "X-Bad": "a\nb" } }),
    /Invalid character/,
  ],
])("commitWith %s is an error", async (_, commit, message) => {
  const errors: unknown[] = [];
  const store = ledgerStore();
  const options = { maxResponseBytes: 100, onError: (error: unknown) => void errors.push(error) };
  await using server = await serve(committing(store, commit, options));

  await server.send({ key: "k" }).catch(() => undefined);

  expect(errors).toContainEqual(
    expect.objectContaining({ message: expect.stringMatching(message) }),
  );
  expect(store.ledger).toEqual([]);
});

test("a store without transactions says so", async () => {
  const refused = deferred<unknown>();
  const handler = committing(memoryStore(), async (commitWith, res) => {
    await commitWith([], {}).catch(refused.resolve);
    res.end("without");
  });
  await using server = await serve(handler);

  expect(await server.send({ key: "k" })).toMatchObject({ text: "without" });
  expect(await refused.promise).toMatchObject({
    code: "COMMIT_REFUSED",
    message: expect.stringContaining("no transactions") as string,
  });
});

async function leaseOn(store: Store, key: string) {
  const claim = await store.lock(key, "f", LEASE_MS);
  if (claim.state !== "acquired") throw new Error(`The key is ${claim.state}.`);
  return claim.lease;
}

function recorded() {
  const timestamp = Date.now();
  const expiresAt = timestamp + 60_000;
  return {
    statusCode: 200,
    headers: [],
    body: Buffer.alloc(0),
    timestamp,
    expiresAt,
    fingerprint: "f",
  };
}
