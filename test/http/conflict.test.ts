/** Duplicates of a running request: refused at once, or waiting for its result. */
import { setImmediate as turn } from "node:timers/promises";
import { expect, test } from "vitest";
import { idempotency, type Store } from "../../src/index.js";
import { memoryStore } from "../../stores/memory.js";
import { fakeClock } from "../support/clock.js";
import { deferred } from "../support/deferred.js";
import { serve, type Answer } from "../support/http.js";

/** A handler that runs until its gate opens, and the sign that it runs. */
function gatedHandler(store: Store, options: Parameters<typeof idempotency>[1] = {}) {
  const started = deferred();
  const gate = deferred();
  const safe = idempotency(store, options);
  let runs = 0;
  const listener = safe.wrap(async (_, res) => {
    runs += 1;
    started.resolve();
    await gate.promise;
    res.writeHead(201).end(`run ${runs}`);
  });
  return { listener, started: started.promise, open: () => gate.resolve(), runs: () => runs };
}

test("C1: 500 duplicates at once over 50 keys execute 50 times, every 2xx of a key is byte-identical", async () => {
  const runs = new Map<string, number>();
  const safe = idempotency(memoryStore(), { onConflict: "wait" });
  await using server = await serve(
    safe.wrap(async (req, res) => {
      const key = req.idempotency?.key ?? "";
      runs.set(key, (runs.get(key) ?? 0) + 1);
      await turn();
      res.writeHead(201, { "X-Random": String(Math.random()) }).end(`${Math.random()}`);
    }),
  );

  const keys = Array.from({ length: 500 }, (_, i) => `key-${i % 50}`);
  const answers = await Promise.all(keys.map((key) => server.send({ key, body: key })));

  expect([...runs.values()]).toEqual(Array.from({ length: 50 }, () => 1));
  for (const key of new Set(keys)) {
    const same = answers.filter((_, i) => keys[i] === key);
    expect(same.map(({ status }) => status)).toEqual(Array.from({ length: 10 }, () => 201));
    expect(new Set(same.map(({ text, headers }) => text + headers["x-random"])).size).toBe(1);
  }
});

test("C1: without waiting, one of ten duplicates runs and the nine others get 409, for 50 keys at once", async () => {
  const gate = deferred();
  let runs = 0;
  let conflicts = 0;
  const safe = idempotency(memoryStore());
  await using server = await serve(
    safe.wrap(async (_, res) => {
      runs += 1;
      await gate.promise;
      res.writeHead(201).end();
    }),
  );

  const answers = await Promise.all(
    Array.from({ length: 500 }, async (_, i) => {
      const { status } = await server.send({ key: `key-${i % 50}` });
      if (status === 409) conflicts += 1;
      if (conflicts === 450) gate.resolve();
      return status;
    }),
  );

  expect(runs).toBe(50);
  expect(answers.filter((status) => status === 201)).toHaveLength(50);
});

test("a duplicate of a running request gets 409 with Retry-After, and the first its answer", async () => {
  const { listener, started, open, runs } = gatedHandler(memoryStore());
  await using server = await serve(listener);
  const first = server.send({ key: "k" });
  await started;

  const duplicate = await server.send({ key: "k" });
  open();

  expect(duplicate).toMatchObject({ status: 409 });
  expect(duplicate.headers["retry-after"]).toBe("1");
  expect(await first).toMatchObject({ status: 201, text: "run 1" });
  expect(runs()).toBe(1);
});

test("C36: another payload under a key in progress gets 422, not 409", async () => {
  const { listener, started, open } = gatedHandler(memoryStore());
  await using server = await serve(listener);
  const first = server.send({ key: "k", body: "one" });
  await started;

  expect(await server.send({ key: "k", body: "other" })).toMatchObject({ status: 422 });
  open();
  await first;
});

test("a store that cannot tell the holder's fingerprint makes it 409", async () => {
  const store = memoryStore();
  const lock: Store["lock"] = async (...args) => {
    const result = await store.lock(...args);
    return result.state === "in-progress"
      ? { state: "in-progress", retryAfterMs: result.retryAfterMs }
      : result;
  };
  const { listener, started, open } = gatedHandler({ ...store, lock });
  await using server = await serve(listener);
  const first = server.send({ key: "k", body: "one" });
  await started;

  expect(await server.send({ key: "k", body: "other" })).toMatchObject({ status: 409 });
  open();
  await first;
});

test("C36, C37: under a completed key another payload gets 422 and does not run, and the same again is replayed", async () => {
  const { listener, open, runs } = gatedHandler(memoryStore());
  await using server = await serve(listener);
  open();
  const first = await server.send({ key: "k", body: "one" });

  const other = await server.send({ key: "k", body: "other" });
  const same = await server.send({ key: "k", body: "one" });

  expect(other).toMatchObject({ status: 422 });
  expect(same).toMatchObject({ status: first.status, body: first.body });
  expect(same.headers).toMatchObject({ "idempotency-replayed": "true" });
  expect(runs()).toBe(1);
});

/** Waits for a number of store locks: the sign that this many duplicates have asked. */
function countingLocks(store: Store) {
  let locks = 0;
  const waiting: { count: number; reached: () => void }[] = [];
  const lock: Store["lock"] = async (...args) => {
    const result = await store.lock(...args);
    locks += 1;
    for (const { count, reached } of waiting) if (locks >= count) reached();
    return result;
  };
  return {
    store: { ...store, lock },
    locked: (count: number) => {
      const { promise, resolve } = deferred();
      waiting.push({ count, reached: resolve });
      if (locks >= count) resolve();
      return promise;
    },
  };
}

test("with onConflict 'wait' a duplicate waits and gets the same answer", async () => {
  using clock = fakeClock();
  const { store, locked } = countingLocks(memoryStore());
  const { listener, started, open, runs } = gatedHandler(store, { onConflict: "wait" });
  await using server = await serve(listener);
  const first = server.send({ key: "k" });
  await started;
  const duplicates = [server.send({ key: "k" }), server.send({ key: "k" })];
  await locked(3);

  open();
  const answer = await first;
  await clock.advance(1_000);

  expect(answer).toMatchObject({ text: "run 1" });
  for (const duplicate of await Promise.all(duplicates)) {
    expect(duplicate).toMatchObject({ status: 201, text: "run 1" });
    expect(duplicate.headers["idempotency-replayed"]).toBe("true");
  }
  expect(runs()).toBe(1);
});

test("a waiting duplicate takes over when the first request frees the key", async () => {
  using clock = fakeClock();
  const { store, locked } = countingLocks(memoryStore());
  const started = deferred();
  const gate = deferred();
  let runs = 0;
  const safe = idempotency(store, { onConflict: "wait" });
  await using server = await serve(
    safe.wrap(async (_, res) => {
      runs += 1;
      if (runs > 1) return res.writeHead(201).end("second run");
      started.resolve();
      await gate.promise;
      return res.writeHead(503).end();
    }),
  );
  const first = server.send({ key: "k" });
  await started.promise;
  const duplicate = server.send({ key: "k" });
  await locked(2);

  gate.resolve();
  expect(await first).toMatchObject({ status: 503 });
  await clock.advance(1_000);

  expect(await duplicate).toMatchObject({ status: 201, text: "second run" });
});

test("P7: a duplicate waits no longer than maxWaitMs, asking ever less often, then gets 409", async () => {
  using clock = fakeClock();
  const counting = countingLocks(memoryStore());
  let locks = 0;
  const lock: Store["lock"] = async (...args) => {
    locks += 1;
    return await counting.store.lock(...args);
  };
  const { listener, started, open } = gatedHandler(
    { ...counting.store, lock },
    { onConflict: "wait", maxWaitMs: 10_000, leaseMs: 60_000 },
  );
  await using server = await serve(listener);
  const first = server.send({ key: "k" });
  await started;
  let answer: Answer | undefined;
  const duplicate = server.send({ key: "k" }).then((it) => (answer = it));
  await counting.locked(2);

  await clock.advance(9_900);
  expect(answer).toBeUndefined();
  await clock.advance(200);

  expect(await duplicate).toMatchObject({ status: 409 });
  expect(locks).toBeLessThan(30);
  open();
  await first;
});

test("P7: beyond maxWaiters duplicates do not wait", async () => {
  using clock = fakeClock();
  const { store, locked } = countingLocks(memoryStore());
  const { listener, started, open } = gatedHandler(store, { onConflict: "wait", maxWaiters: 1 });
  await using server = await serve(listener);
  const first = server.send({ key: "k" });
  await started;
  const waiting = server.send({ key: "k" });
  await locked(2);

  expect(await server.send({ key: "k" })).toMatchObject({ status: 409 });

  open();
  await first;
  await clock.advance(1_000);
  expect(await waiting).toMatchObject({ status: 201 });
});

test("another payload does not wait for a result that is not its own", async () => {
  // It stands still: whoever waits, waits for ever.
  using _ = fakeClock();
  const { listener, started, open } = gatedHandler(memoryStore(), { onConflict: "wait" });
  await using server = await serve(listener);
  const first = server.send({ key: "k", body: "one" });
  await started;

  expect(await server.send({ key: "k", body: "other" })).toMatchObject({ status: 422 });
  open();
  await first;
});

test("C2: a duplicate that finds the first one done gets its result, not 409", async () => {
  const store = memoryStore();
  const inLock = deferred();
  const letLock = deferred();
  let locks = 0;
  const lock: Store["lock"] = async (...args) => {
    locks += 1;
    if (locks === 2) {
      inLock.resolve();
      await letLock.promise;
    }
    return await store.lock(...args);
  };
  const { listener, started, open } = gatedHandler({ ...store, lock });
  await using server = await serve(listener);
  const first = server.send({ key: "k" });
  await started;
  const duplicate = server.send({ key: "k" });
  await inLock.promise;
  open();
  await first;

  letLock.resolve();

  expect(await duplicate).toMatchObject({ status: 201, text: "run 1" });
});
