/** Leases: renewed while the handler runs, lost for good when they are lost, and fenced when their holder is late. */
import type { ServerResponse } from "node:http";
import { expect, test } from "vitest";
import {
  idempotency,
  StoreUnavailableError,
  type IdempotencyContext,
  type IdempotentRequest,
  type Store,
} from "../../src/index.js";
import { memoryStore } from "../../stores/memory.js";
import { fakeClock } from "../support/clock.js";
import { deferred } from "../support/deferred.js";
import { listen } from "../support/events.js";
import { serve } from "../support/http.js";

const LEASE_MS = 9_000;

/** A handler whose runs a test starts watching and ends one by one. */
function steppedHandler() {
  const runs: { res: ServerResponse; context: IdempotencyContext | undefined }[] = [];
  const waiting: (() => void)[] = [];
  return {
    runs,
    handler: (req: IdempotentRequest, res: ServerResponse) => {
      runs.push({ res, context: req.idempotency });
      waiting.shift()?.();
    },
    /** Resolves when the handler is called the next time. */
    started: () => {
      const start = deferred();
      waiting.push(() => start.resolve());
      return start.promise;
    },
  };
}

test("C10: a handler longer than its lease keeps the key, and a duplicate still gets 409", async () => {
  using clock = fakeClock();
  const stepped = steppedHandler();
  const safe = idempotency(memoryStore(), { leaseMs: LEASE_MS });
  await using server = await serve(safe.wrap(stepped.handler));
  const started = stepped.started();
  const first = server.send({ key: "k" });
  await started;

  for (let lease = 0; lease < 5; lease += 1) {
    await clock.advance(LEASE_MS);
    expect(await server.send({ key: "k" })).toMatchObject({ status: 409 });
    expect(stepped.runs[0]?.context).toMatchObject({ held: true });
  }
  stepped.runs[0]?.res.end("done");

  expect(await first).toMatchObject({ status: 200, text: "done" });
  expect(stepped.runs).toHaveLength(1);
});

test("C11, P5: a holder that lost its lease answers with its successor's result, which stays", async () => {
  using clock = fakeClock();
  using events = listen();
  const stepped = steppedHandler();
  const store = memoryStore();
  let stalled = true;
  const extend: Store["extend"] = async (lease, leaseMs) => {
    if (stalled) throw new StoreUnavailableError("cut off");
    return await store.extend(lease, leaseMs);
  };
  const safe = idempotency({ ...store, extend }, { leaseMs: LEASE_MS });
  await using server = await serve(safe.wrap(stepped.handler));
  const firstStarted = stepped.started();
  const first = server.send({ key: "k" });
  await firstStarted;
  const firstSignal = stepped.runs[0]?.context?.signal;

  await clock.advance(LEASE_MS);
  stalled = false;
  const secondStarted = stepped.started();
  const second = server.send({ key: "k" });
  await secondStarted;
  stepped.runs[1]?.res.writeHead(201, { "X-Run": "2" }).end("second");
  expect(await second).toMatchObject({ status: 201, text: "second" });
  stepped.runs[0]?.res.writeHead(201, { "X-Run": "1" }).end("first");

  const late = await first;
  expect(late).toMatchObject({ status: 201, text: "second" });
  expect(late.headers).toMatchObject({ "x-run": "2", "idempotency-replayed": "true" });
  expect(await server.send({ key: "k" })).toMatchObject({ text: "second" });
  expect(firstSignal?.aborted).toBe(true);
  expect(events.types).toEqual(
    expect.arrayContaining(["renewal-failed", "lease-lost", "takeover"]),
  );
});

test("P2: a holder that learns only from its store that another has the key says so, and answers with the other's result", async () => {
  using events = listen();
  const stepped = steppedHandler();
  const store = memoryStore();
  const locked: string[] = [];
  const lock: Store["lock"] = async (key, ...args) => {
    locked.push(key);
    return await store.lock(key, ...args);
  };
  const safe = idempotency({ ...store, lock });
  await using server = await serve(safe.wrap(stepped.handler));
  const firstStarted = stepped.started();
  const first = server.send({ key: "k" });
  await firstStarted;
  // An operator's doing, or a server that forgot.
  await store.delete(locked[0] ?? "");
  const secondStarted = stepped.started();
  const second = server.send({ key: "k" });
  await secondStarted;
  stepped.runs[1]?.res.end("second");
  await second;
  stepped.runs[0]?.res.end("first");

  expect(await first).toMatchObject({ status: 200, text: "second" });
  expect(events.all).toEqual([{ type: "lease-lost", key: locked[0], reason: "taken" }]);
});

test("P2: a response that is stored when its lease is over is answered, and the loss is told", async () => {
  using clock = fakeClock();
  using events = listen();
  const stepped = steppedHandler();
  const store = memoryStore();
  const extend = async (): Promise<boolean> => {
    throw new StoreUnavailableError("cut off");
  };
  const offered = deferred();
  const stored = deferred();
  const set: Store["set"] = async (...args) => {
    offered.resolve();
    await stored.promise;
    return await store.set(...args);
  };
  const safe = idempotency({ ...store, extend, set }, { leaseMs: LEASE_MS });
  await using server = await serve(safe.wrap(stepped.handler));
  const started = stepped.started();
  const first = server.send({ key: "k" });
  await started;
  await clock.advance(LEASE_MS * 0.9);
  stepped.runs[0]?.res.end("done");
  await offered.promise;
  await clock.advance(LEASE_MS * 0.2);
  stored.resolve();

  expect(await first).toMatchObject({ status: 200, text: "done" });
  expect(events.all).toContainEqual(
    expect.objectContaining({ type: "lease-lost", reason: "expired" }),
  );
});

test("P5: a late holder whose successor still runs gets 503, then the successor's result", async () => {
  using clock = fakeClock();
  const stepped = steppedHandler();
  const extend = async () => false;
  const safe = idempotency({ ...memoryStore(), extend }, { leaseMs: LEASE_MS, onError: () => {} });
  await using server = await serve(safe.wrap(stepped.handler));
  const firstStarted = stepped.started();
  const first = server.send({ key: "k" });
  await firstStarted;
  await clock.advance(LEASE_MS);
  const secondStarted = stepped.started();
  const second = server.send({ key: "k" });
  await secondStarted;

  stepped.runs[0]?.res.end("first");

  const late = await first;
  expect(late.status).toBe(503);
  expect(late.headers["retry-after"]).toBe("1");
  expect(JSON.parse(late.text)).toMatchObject({ code: "LEASE_LOST" });
  stepped.runs[1]?.res.end("second");
  expect(await second).toMatchObject({ text: "second" });
  expect(await server.send({ key: "k" })).toMatchObject({ text: "second" });
});

test("C12: the late failure of a holder that lost its lease does not free its successor's key", async () => {
  using clock = fakeClock();
  const stepped = steppedHandler();
  const extend = async () => false;
  const safe = idempotency({ ...memoryStore(), extend }, { leaseMs: LEASE_MS });
  await using server = await serve(safe.wrap(stepped.handler));
  const firstStarted = stepped.started();
  const first = server.send({ key: "k" });
  await firstStarted;
  await clock.advance(LEASE_MS);
  const secondStarted = stepped.started();
  const second = server.send({ key: "k" });
  await secondStarted;

  stepped.runs[0]?.res.writeHead(500).end("not to be stored");

  expect(await first).toMatchObject({ status: 500 });
  expect(await server.send({ key: "k" })).toMatchObject({ status: 409 });
  stepped.runs[1]?.res.end("second");
  await second;
});

test("P5: a handler that throws because it lost its lease makes it 503: the retry learns the result", async () => {
  using clock = fakeClock();
  using events = listen();
  const started = deferred();
  const errors: unknown[] = [];
  const extend = async () => false;
  const safe = idempotency(
    { ...memoryStore(), extend },
    { leaseMs: LEASE_MS, onError: (error) => errors.push(error) },
  );
  await using server = await serve(
    safe.wrap(async (req) => {
      const { signal } = req.idempotency ?? {};
      const aborted = new Promise((_, reject) => {
        signal?.addEventListener("abort", () => reject(signal.reason as Error));
      });
      started.resolve();
      await aborted;
    }),
  );
  const first = server.send({ key: "k" });
  await started.promise;

  await clock.advance(LEASE_MS);

  const answer = await first;
  expect(answer.status).toBe(503);
  expect(answer.headers["retry-after"]).toBe("1");
  expect(errors).toEqual([
    expect.objectContaining({
      code: "LEASE_LOST",
      cause: expect.objectContaining({ code: "LEASE_LOST" }),
    }),
  ]);
  expect(events.types).toEqual(["lease-lost"]);
});

test("a key that was emptied under its holder is said to be lost, as somebody may have executed there and gone", async () => {
  using clock = fakeClock();
  using events = listen();
  const stepped = steppedHandler();
  const store = memoryStore();
  let storeKey = "";
  const lock: Store["lock"] = (key, ...claim) => {
    storeKey = key;
    return store.lock(key, ...claim);
  };
  const safe = idempotency({ ...store, lock }, { leaseMs: LEASE_MS });
  await using server = await serve(safe.wrap(stepped.handler));
  const started = stepped.started();
  const first = server.send({ key: "k" });
  await started;
  await clock.advance(LEASE_MS / 4);
  await store.delete(storeKey);

  stepped.runs[0]?.res.end("late");

  expect(await first).toMatchObject({ status: 200, text: "late" });
  expect(events.all).toContainEqual(
    expect.objectContaining({ type: "lease-lost", reason: "lapsed" }),
  );
});

test("a lease that ran out while nobody came is no loss: the late result is stored", async () => {
  using clock = fakeClock();
  const stepped = steppedHandler();
  const extend = async () => false;
  const safe = idempotency({ ...memoryStore(), extend }, { leaseMs: LEASE_MS });
  await using server = await serve(safe.wrap(stepped.handler));
  const started = stepped.started();
  const first = server.send({ key: "k" });
  await started;
  await clock.advance(3 * LEASE_MS);

  stepped.runs[0]?.res.end("late");

  expect(await first).toMatchObject({ status: 200, text: "late" });
  expect(await server.send({ key: "k" })).toMatchObject({ text: "late" });
});

test("C14: a renewal that answers false loses the lease at once and aborts the signal", async () => {
  using clock = fakeClock();
  using events = listen();
  const stepped = steppedHandler();
  const extend = async () => false;
  const safe = idempotency({ ...memoryStore(), extend }, { leaseMs: LEASE_MS });
  await using server = await serve(safe.wrap(stepped.handler));
  const started = stepped.started();
  const first = server.send({ key: "k" });
  await started;
  const context = stepped.runs[0]?.context;
  const { signal } = context ?? {};
  expect(context).toMatchObject({ held: true });
  expect(signal?.aborted).toBe(false);

  await clock.advance(LEASE_MS / 3);

  expect(signal?.reason).toMatchObject({ code: "LEASE_LOST" });
  expect(context).toMatchObject({ held: false });
  expect(events.all).toContainEqual(
    expect.objectContaining({ type: "lease-lost", reason: "taken" }),
  );
  stepped.runs[0]?.res.end();
  await first;
});

test("C14: a renewal that throws is tried again until the last proven lease is over, then it is lost", async () => {
  using clock = fakeClock();
  using events = listen();
  const stepped = steppedHandler();
  let renewals = 0;
  const extend = async () => {
    renewals += 1;
    throw new Error("connection reset");
  };
  const safe = idempotency({ ...memoryStore(), extend }, { leaseMs: LEASE_MS });
  await using server = await serve(safe.wrap(stepped.handler));
  const started = stepped.started();
  const first = server.send({ key: "k" });
  await started;
  const context = stepped.runs[0]?.context;

  await clock.advance(LEASE_MS - 1);
  expect(renewals).toBeGreaterThan(3);
  expect(context).toMatchObject({ held: true });
  await clock.advance(1);

  expect(context).toMatchObject({ held: false });
  // Asked for after the loss, the signal is aborted already.
  expect(context?.signal.aborted).toBe(true);
  expect(events.all).toContainEqual(
    expect.objectContaining({ type: "lease-lost", reason: "expired" }),
  );
  const attempts = renewals;
  await clock.advance(10 * LEASE_MS);
  expect(renewals).toBe(attempts);
  stepped.runs[0]?.res.end();
  await first;
});

test("a renewal that failed and then got through keeps the lease", async () => {
  using clock = fakeClock();
  const stepped = steppedHandler();
  const store = memoryStore();
  let failures = 2;
  const extend: Store["extend"] = async (lease, leaseMs) => {
    failures -= 1;
    if (failures >= 0) throw new Error("connection reset");
    return await store.extend(lease, leaseMs);
  };
  const safe = idempotency({ ...store, extend }, { leaseMs: LEASE_MS });
  await using server = await serve(safe.wrap(stepped.handler));
  const started = stepped.started();
  const first = server.send({ key: "k" });
  await started;

  await clock.advance(3 * LEASE_MS);

  expect(stepped.runs[0]?.context).toMatchObject({ held: true });
  stepped.runs[0]?.res.end("done");
  expect(await first).toMatchObject({ text: "done" });
});

test("C18, P4: a handler that never ends holds its key no longer than maxHandlingMs and one lease", async () => {
  using clock = fakeClock();
  using events = listen();
  const stepped = steppedHandler();
  const safe = idempotency(memoryStore(), { leaseMs: LEASE_MS, maxHandlingMs: 2 * LEASE_MS });
  await using server = await serve(safe.wrap(stepped.handler));
  const started = stepped.started();
  const first = server.send({ key: "k" });
  await started;
  const { signal } = stepped.runs[0]?.context ?? {};

  await clock.advance(3 * LEASE_MS);
  expect(signal?.reason).toMatchObject({ code: "LEASE_LOST" });
  expect(events.all).toContainEqual(
    expect.objectContaining({ type: "lease-lost", reason: "max-handling" }),
  );
  const again = stepped.started();
  const second = server.send({ key: "k" });
  await again;

  stepped.runs[1]?.res.end("second");
  expect(await second).toMatchObject({ text: "second" });
  stepped.runs[0]?.res.end("first");
  expect(await first).toMatchObject({ text: "second" });
});

test.each([
  ["success", (res: ServerResponse) => res.end("ok")],
  ["a response that is not stored", (res: ServerResponse) => res.writeHead(500).end()],
  ["a destroyed response", (res: ServerResponse) => res.destroy()],
])("C13: renewals stop on %s", async (_, finish) => {
  using clock = fakeClock();
  const stepped = steppedHandler();
  const store = memoryStore();
  let renewals = 0;
  const extend: Store["extend"] = async (lease, leaseMs) => {
    renewals += 1;
    return await store.extend(lease, leaseMs);
  };
  const safe = idempotency({ ...store, extend }, { leaseMs: LEASE_MS, onError: () => {} });
  await using server = await serve(safe.wrap(stepped.handler));
  const started = stepped.started();
  const first = server.send({ key: "k" }).catch(() => undefined);
  await started;
  await clock.advance(LEASE_MS);
  const { res } = stepped.runs[0] ?? {};
  if (res !== undefined) finish(res);
  await first;
  await safe.drain();

  const before = renewals;
  await clock.advance(10 * LEASE_MS);

  expect(before).toBe(3);
  expect(renewals).toBe(before);
});

test("C13: a renewal on its way is awaited before the response is stored", async () => {
  using clock = fakeClock();
  const stepped = steppedHandler();
  const store = memoryStore();
  const calls: string[] = [];
  const gate = deferred();
  const extending = deferred();
  const watched: Store = {
    ...store,
    extend: async (lease, leaseMs) => {
      calls.push("extend");
      extending.resolve();
      await gate.promise;
      calls.push("extended");
      return await store.extend(lease, leaseMs);
    },
    set: async (lease, response, ttlMs) => {
      calls.push("set");
      return await store.set(lease, response, ttlMs);
    },
  };
  const safe = idempotency(watched, { leaseMs: LEASE_MS });
  await using server = await serve(safe.wrap(stepped.handler));
  const started = stepped.started();
  const first = server.send({ key: "k" });
  await started;
  await clock.advance(LEASE_MS / 3);
  await extending.promise;

  stepped.runs[0]?.res.end("done");
  gate.resolve();

  expect(await first).toMatchObject({ status: 200, text: "done" });
  expect(calls).toEqual(["extend", "extended", "set"]);
});

test("jumps of the wall clock change nothing about leases", async () => {
  using clock = fakeClock();
  const stepped = steppedHandler();
  const safe = idempotency(memoryStore(), { leaseMs: LEASE_MS });
  await using server = await serve(safe.wrap(stepped.handler));
  const started = stepped.started();
  const first = server.send({ key: "k" });
  await started;

  for (const jumpMs of [3_600_000, -7_200_000]) {
    clock.jumpWallClock(jumpMs);
    expect(stepped.runs[0]?.context).toMatchObject({ held: true });
    expect(await server.send({ key: "k" })).toMatchObject({ status: 409 });
    await clock.advance(LEASE_MS);
  }

  stepped.runs[0]?.res.end("done");
  expect(await first).toMatchObject({ text: "done" });
});

test("C15: a claim that took longer than its own lease is not used: nothing runs, the key is free", async () => {
  using clock = fakeClock();
  using events = listen();
  const store = memoryStore();
  let slow = true;
  const lock: Store["lock"] = async (key, fingerprint, leaseMs) => {
    const result = await store.lock(key, fingerprint, leaseMs);
    if (!slow || result.state !== "acquired") return result;
    return { ...result, lease: { ...result.lease, validUntil: performance.now() - 1 } };
  };
  let runs = 0;
  const safe = idempotency({ ...store, lock }, { leaseMs: LEASE_MS, onError: () => {} });
  await using server = await serve(
    safe.wrap((_, res) => {
      runs += 1;
      res.end();
    }),
  );

  expect(await server.send({ key: "k" })).toMatchObject({ status: 503 });
  expect(runs).toBe(0);
  // Nothing ran, so nothing was given up.
  expect(events.all).toEqual([]);
  slow = false;
  expect(await server.send({ key: "k" })).toMatchObject({ status: 200 });
  await clock.advance(0);
});

test("C16: the handler gets a token of its own for every execution, and keys to derive from", async () => {
  const seen: IdempotencyContext[] = [];
  const safe = idempotency(memoryStore());
  await using server = await serve(
    safe.wrap((req, res) => {
      if (req.idempotency !== undefined) seen.push(req.idempotency);
      res.writeHead(500).end();
    }),
  );
  await server.send({ key: '"k"' });
  await server.send({ key: "k" });
  await server.send({ key: "other" });

  const [first, again, other] = seen;
  expect(first?.key).toBe("k");
  expect(new Set(seen.map(({ token }) => token)).size).toBe(3);
  expect(first?.deriveKey("charge")).toBe(again?.deriveKey("charge"));
  expect(first?.deriveKey("charge")).not.toBe(first?.deriveKey("mail"));
  expect(first?.deriveKey("charge")).not.toBe(other?.deriveKey("charge"));
});

test("a lease that a renewal found lost is told of once, though its response is refused as well", async () => {
  using clock = fakeClock();
  using events = listen();
  const stepped = steppedHandler();
  const store: Store = {
    ...memoryStore(),
    extend: async () => false,
    set: async () => ({ state: "lost" }),
  };
  const safe = idempotency(store, { leaseMs: LEASE_MS, onError: () => {} });
  await using server = await serve(safe.wrap(stepped.handler));
  const started = stepped.started();
  const answer = server.send({ key: "k" });
  await started;
  await clock.advance(LEASE_MS / 2);
  stepped.runs[0]?.res.end("late");

  expect(await answer).toMatchObject({ status: 503 });
  expect(events.types).toEqual(["lease-lost"]);
});
