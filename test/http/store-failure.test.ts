/** When the store breaks: before the handler, after it, and while responses wait for it. */
import { once } from "node:events";
import { expect, onTestFinished, test, vi } from "vitest";
import {
  idempotency,
  IdempotencyError,
  LockFailedError,
  StoreUnavailableError,
  type HttpOptions,
  type Store,
} from "../../src/index.js";
import { memoryStore } from "../../stores/memory.js";
import { fakeClock } from "../support/clock.js";
import { deferred } from "../support/deferred.js";
import { listen } from "../support/events.js";
import { serve } from "../support/http.js";

const LEASE_MS = 9_000;

/** A counting payment handler on a store that a test breaks. */
function payments(store: Store, options: Partial<HttpOptions> = {}) {
  const errors: unknown[] = [];
  const safe = idempotency(store, {
    leaseMs: LEASE_MS,
    onError: (error) => errors.push(error),
    ...options,
  });
  let runs = 0;
  const listener = safe.wrap((_, res) => {
    runs += 1;
    res.writeHead(201).end(`run ${runs}`);
  });
  return { safe, listener, errors, runs: () => runs };
}

const never = () => new Promise<never>(() => {});
const broken = async () => {
  throw new Error("ECONNREFUSED");
};

test("P8, C46: a store that fails on lock makes it 503 with Retry-After, and nothing runs", async () => {
  const { listener, errors, runs } = payments({ ...memoryStore(), lock: broken });
  await using server = await serve(listener);

  const answer = await server.send({ key: "k" });

  expect(answer.status).toBe(503);
  expect(answer.headers["retry-after"]).toBe("2");
  expect(JSON.parse(answer.text)).toMatchObject({ code: "STORE_UNAVAILABLE", status: 503 });
  expect(answer.text).not.toContain("ECONNREFUSED");
  expect(errors).toEqual([expect.objectContaining({ code: "STORE_UNAVAILABLE" })]);
  expect(errors[0]).toMatchObject({ cause: { message: "ECONNREFUSED" } });
  expect(runs()).toBe(0);
});

test("without onError the log has the whole error of a 5xx, and of nothing else", async () => {
  const log = vi.spyOn(console, "error").mockImplementation(() => undefined);
  onTestFinished(() => log.mockRestore());
  let isBroken = true;
  const store = memoryStore();
  const lock: Store["lock"] = async (...args) =>
    isBroken ? await broken() : await store.lock(...args);
  const safe = idempotency({ ...store, lock });
  await using server = await serve(safe.wrap((_, res) => res.writeHead(201).end()));

  expect(await server.send({ key: "k" })).toMatchObject({ status: 503 });
  isBroken = false;
  await server.send({ key: "k", body: "one" });
  expect(await server.send({ key: "k", body: "two" })).toMatchObject({ status: 422 });

  expect(log.mock.calls).toEqual([[expect.objectContaining({ code: "STORE_UNAVAILABLE" })]]);
  expect(log.mock.calls[0]?.[0]).toMatchObject({
    message: expect.stringMatching(/^The store's lock failed/),
    cause: { message: "ECONNREFUSED" },
  });
});

test("P8: a store that throws where it should reject makes it 503 too, before the handler and after it", async () => {
  const thrown = () => {
    throw new Error("not even a promise");
  };
  const onLock = payments({ ...memoryStore(), lock: thrown });
  const onSet = payments({ ...memoryStore(), set: thrown }, { maxPendingBytes: 0 });
  await using first = await serve(onLock.listener);
  await using second = await serve(onSet.listener);

  for (const server of [first, second]) {
    const answer = await server.send({ key: "k" });
    expect(answer.status).toBe(503);
    expect(JSON.parse(answer.text)).toMatchObject({ code: "STORE_UNAVAILABLE" });
  }
  expect(onLock.runs()).toBe(0);
});

test("P8, C46: a store that hangs on lock makes it 503 within storeTimeoutMs", async () => {
  using clock = fakeClock();
  const asked = deferred();
  const lock = () => {
    asked.resolve();
    return never();
  };
  const { listener, runs } = payments({ ...memoryStore(), lock }, { storeTimeoutMs: 1_000 });
  await using server = await serve(listener);
  const answer = server.send({ key: "k" });
  await asked.promise;
  await clock.advance(1_000);

  expect(await answer).toMatchObject({ status: 503 });
  expect(runs()).toBe(0);
});

test("an onError that throws is a process warning, and the client gets its answer", async () => {
  const warned = once(process, "warning");
  const onError = () => {
    throw new Error("no log server");
  };
  const { listener } = payments({ ...memoryStore(), lock: broken }, { onError });
  await using server = await serve(listener);

  expect(await server.send({ key: "k" })).toMatchObject({ status: 503 });
  expect(await warned).toEqual([expect.objectContaining({ message: "no log server" })]);
});

test("a claim that arrives after its time limit is given back, so that a retry need not wait for a lease", async () => {
  using clock = fakeClock();
  const store = memoryStore();
  const asked = deferred();
  const slow = deferred();
  const unlocked = deferred();
  let locks = 0;
  const { listener, runs } = payments({
    ...store,
    lock: async (...args) => {
      locks += 1;
      const result = await store.lock(...args);
      if (locks === 1) {
        asked.resolve();
        await slow.promise;
      }
      return result;
    },
    unlock: async (lease) => {
      await store.unlock(lease);
      unlocked.resolve();
    },
  });
  await using server = await serve(listener);
  const first = server.send({ key: "k" });
  await asked.promise;
  await clock.advance(LEASE_MS / 3);
  expect(await first).toMatchObject({ status: 503 });

  slow.resolve();
  await unlocked.promise;

  expect(await server.send({ key: "k" })).toMatchObject({ status: 201, text: "run 1" });
  expect(runs()).toBe(1);
});

test("a late claim that cannot be given back is reported and ends with its lease", async () => {
  using clock = fakeClock();
  using events = listen();
  const store = memoryStore();
  const asked = deferred();
  const slow = deferred();
  const lock: Store["lock"] = async (...args) => {
    const result = await store.lock(...args);
    asked.resolve();
    await slow.promise;
    return result;
  };
  const { listener } = payments({ ...store, lock, unlock: broken });
  await using server = await serve(listener);
  const first = server.send({ key: "k" });
  await asked.promise;
  await clock.advance(LEASE_MS / 3);
  await first;
  const failed = events.next("release-failed");
  slow.resolve();

  expect(await failed).toMatchObject({ type: "release-failed" });
});

test("an answer that comes late and grants nothing has nothing to give back", async () => {
  using clock = fakeClock();
  const asked = deferred();
  const slow = deferred();
  let unlocks = 0;
  const { listener } = payments({
    ...memoryStore(),
    lock: async () => {
      asked.resolve();
      await slow.promise;
      return { state: "in-progress", retryAfterMs: LEASE_MS };
    },
    unlock: async () => {
      unlocks += 1;
    },
  });
  await using server = await serve(listener);
  const first = server.send({ key: "k" });
  await asked.promise;
  await clock.advance(LEASE_MS / 3);
  await first;
  slow.resolve();
  await clock.advance(LEASE_MS);

  expect(unlocks).toBe(0);
});

test("a store's own LockFailedError that says no time gets one", async () => {
  const lock: Store["lock"] = async () => {
    throw new LockFailedError("The store is full.");
  };
  const safe = idempotency({ ...memoryStore(), lock }, { onError: () => {} });
  await using server = await serve(safe.wrap((_, res) => res.end()));

  const answer = await server.send({ key: "k" });
  expect(answer.status).toBe(503);
  expect(answer.headers["retry-after"]).toBe("1");
});

test("a store's own LockFailedError keeps its code and its Retry-After", async () => {
  const lock = async () => {
    throw new LockFailedError("The store is full.", { retryAfterMs: 7_500 });
  };
  const { listener, errors } = payments({ ...memoryStore(), lock });
  await using server = await serve(listener);

  const answer = await server.send({ key: "k" });

  expect(answer.headers["retry-after"]).toBe("8");
  expect(JSON.parse(answer.text)).toMatchObject({ code: "LOCK_FAILED" });
  expect(errors).toEqual([expect.objectContaining({ message: "The store is full." })]);
});

test.each([
  [undefined, "1"],
  [7_000, "7"],
])(
  "C44: a store error of another copy of the package, retryAfterMs: %s, is known by its code, and told as one of this copy",
  async (retryAfterMs, seconds) => {
    const thrown = Object.assign(new Error("no room"), { code: "LOCK_FAILED", retryAfterMs });
    const lock = () => Promise.reject(thrown);
    const { listener, errors } = payments({ ...memoryStore(), lock });
    await using server = await serve(listener);

    const answer = await server.send({ key: "k" });

    expect(answer.status).toBe(503);
    expect(answer.headers["retry-after"]).toBe(seconds);
    expect(JSON.parse(answer.text)).toMatchObject({ code: "LOCK_FAILED" });
    expect(errors).toEqual([expect.any(IdempotencyError)]);
    expect(errors).toMatchObject([{ message: "no room", cause: thrown }]);
  },
);

test("P8: passing requests through when the store is down is an explicit option, and says so", async () => {
  using events = listen();
  const { listener, runs } = payments(
    { ...memoryStore(), lock: broken },
    { onStoreFailure: "execute" },
  );
  await using server = await serve(listener);

  expect(await server.send({ key: "k" })).toMatchObject({ status: 201, text: "run 1" });
  expect(await server.send({ key: "k" })).toMatchObject({ status: 201, text: "run 2" });
  expect(events.types).toEqual(["unprotected", "unprotected"]);
  expect(runs()).toBe(2);
});

test("P9: what a store says of itself is for the operator, not for the client", async () => {
  const lock = async () => {
    throw new StoreUnavailableError("connect ECONNREFUSED 10.0.0.3:6379");
  };
  const { listener, errors } = payments({ ...memoryStore(), lock });
  await using server = await serve(listener);

  expect((await server.send({ key: "k" })).text).not.toContain("10.0.0.3");
  expect(errors).toEqual([expect.objectContaining({ message: expect.stringMatching("10.0.0.3") })]);
});

test("a handler that fails without protection answers 500 and takes nothing down", async () => {
  const errors: unknown[] = [];
  const safe = idempotency(
    { ...memoryStore(), lock: broken },
    { onStoreFailure: "execute", onError: (error) => errors.push(error) },
  );
  await using server = await serve(
    safe.wrap(async () => {
      throw new Error("no funds");
    }),
  );

  expect(await server.send({ key: "k" })).toMatchObject({ status: 500 });
  expect(errors).toEqual([expect.objectContaining({ message: "no funds" })]);
});

test("C19, P3: a response that cannot be stored is not answered; once the store is back, the retry replays it", async () => {
  using clock = fakeClock();
  using events = listen();
  const store = memoryStore();
  let down = true;
  const set: Store["set"] = async (...args) => {
    if (down) throw new StoreUnavailableError("down", { retryAfterMs: 3_000 });
    return await store.set(...args);
  };
  const { listener, runs } = payments({ ...store, set });
  await using server = await serve(listener);

  const first = await server.send({ key: "k" });
  expect(first.status).toBe(503);
  expect(first.headers["retry-after"]).toBe("3");
  expect(await server.send({ key: "k" })).toMatchObject({ status: 409 });
  await clock.advance(3 * LEASE_MS);
  expect(await server.send({ key: "k" })).toMatchObject({ status: 409 });
  down = false;
  await clock.advance(LEASE_MS);

  const retry = await server.send({ key: "k" });
  expect(retry).toMatchObject({ status: 201, text: "run 1" });
  expect(retry.headers["idempotency-replayed"]).toBe("true");
  expect(runs()).toBe(1);
  expect(events.types).toEqual(["response-pending", "response-settled"]);
});

test("a set whose reply was lost is 503, then a replay of what was stored", async () => {
  using clock = fakeClock();
  const store = memoryStore();
  let lost = false;
  const set: Store["set"] = async (...args) => {
    const result = await store.set(...args);
    if (lost) return result;
    lost = true;
    throw new Error("ECONNRESET");
  };
  const { safe, listener, runs } = payments({ ...store, set });
  await using server = await serve(listener);

  expect(await server.send({ key: "k" })).toMatchObject({ status: 503 });
  expect(await server.send({ key: "k" })).toMatchObject({ status: 201, text: "run 1" });
  const drained = safe.drain();
  await clock.advance(LEASE_MS);
  await drained;
  expect(runs()).toBe(1);
});

test("a store that hangs on set makes it 503 within storeTimeoutMs", async () => {
  using clock = fakeClock();
  const asked = deferred();
  const set = () => {
    asked.resolve();
    return never();
  };
  const { listener } = payments({ ...memoryStore(), set }, { maxPendingBytes: 0 });
  await using server = await serve(listener);
  const answer = server.send({ key: "k" });
  await asked.promise;
  await clock.advance(LEASE_MS / 3);

  expect(await answer).toMatchObject({ status: 503 });
});

test("a held response is given up when maxHandlingMs is over, and says so", async () => {
  using clock = fakeClock();
  using events = listen();
  const { safe, listener } = payments(
    { ...memoryStore(), set: broken },
    { maxHandlingMs: 3 * LEASE_MS },
  );
  await using server = await serve(listener);
  expect(await server.send({ key: "k" })).toMatchObject({ status: 503 });

  const drained = safe.drain();
  await clock.advance(4 * LEASE_MS);
  await drained;

  expect(events.all.at(-1)).toMatchObject({
    type: "response-given-up",
    error: { code: "STORE_UNAVAILABLE", cause: { message: "ECONNREFUSED" } },
  });
});

test("a held response is not offered beyond its TTL", async () => {
  using clock = fakeClock();
  using events = listen();
  let sets = 0;
  const set = async () => {
    sets += 1;
    throw new Error("down");
  };
  const { safe, listener } = payments(
    { ...memoryStore(), set },
    { ttlMs: LEASE_MS, maxHandlingMs: 10 * LEASE_MS },
  );
  await using server = await serve(listener);
  await server.send({ key: "k" });

  const drained = safe.drain();
  await clock.advance(2 * LEASE_MS);
  await drained;

  expect(events.types.at(-1)).toBe("response-given-up");
  expect(sets).toBeLessThan(8);
});

test("P7: responses held for the store are bounded; one too many is given up at once", async () => {
  using clock = fakeClock();
  using events = listen();
  // Room for one, to the byte: what it takes besides its body, and the body.
  const maxPendingBytes = 1_024 + "run 1".length;
  const { safe, listener } = payments({ ...memoryStore(), set: broken }, { maxPendingBytes });
  await using server = await serve(listener);

  await server.send({ key: "one" });
  await server.send({ key: "two" });

  expect(events.types).toEqual(["response-pending", "response-given-up"]);
  const drained = safe.drain();
  await clock.advance(400_000);
  await drained;
});

test("a held response whose key a successor completed is settled as lost", async () => {
  using clock = fakeClock();
  using events = listen();
  const store = memoryStore();
  let cutOff = true;
  const { safe, listener, runs } = payments({
    ...store,
    extend: async (...args) => (cutOff ? await broken() : await store.extend(...args)),
    set: async (...args) => (cutOff ? await broken() : await store.set(...args)),
  });
  await using server = await serve(listener);
  expect(await server.send({ key: "k" })).toMatchObject({ status: 503 });
  await clock.advance(LEASE_MS);
  cutOff = false;

  expect(await server.send({ key: "k" })).toMatchObject({ status: 201, text: "run 2" });
  const drained = safe.drain();
  await clock.advance(LEASE_MS);
  await drained;

  expect(events.all.slice(-2)).toMatchObject([
    { type: "lease-lost", reason: "taken" },
    { type: "response-settled", state: "lost" },
  ]);
  expect(runs()).toBe(2);
});

test("an unlock that fails does not change the answer; the key is free after the lease", async () => {
  using clock = fakeClock();
  using events = listen();
  let runs = 0;
  const safe = idempotency({ ...memoryStore(), unlock: broken }, { leaseMs: LEASE_MS });
  await using server = await serve(
    safe.wrap((_, res) => {
      runs += 1;
      res.writeHead(runs === 1 ? 500 : 201).end();
    }),
  );

  expect(await server.send({ key: "k" })).toMatchObject({ status: 500 });
  expect(await server.send({ key: "k" })).toMatchObject({ status: 409 });
  await clock.advance(LEASE_MS);
  expect(await server.send({ key: "k" })).toMatchObject({ status: 201 });
  expect(events.types).toEqual(["released", "release-failed", "takeover"]);
});

test("a full memory store refuses new keys with 503 and loses none that it holds", async () => {
  const gate = deferred();
  const started = deferred();
  const safe = idempotency(memoryStore({ maxEntries: 1 }), { onError: () => {} });
  await using server = await serve(
    safe.wrap(async (_, res) => {
      started.resolve();
      await gate.promise;
      res.end("done");
    }),
  );
  const first = server.send({ key: "one" });
  await started.promise;

  const refused = await server.send({ key: "two" });
  gate.resolve();

  expect(refused.status).toBe(503);
  expect(JSON.parse(refused.text)).toMatchObject({ code: "LOCK_FAILED" });
  expect(await first).toMatchObject({ status: 200, text: "done" });
});
