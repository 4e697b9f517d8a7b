/** Invocations end: what happens to leases, store calls and timers when they are killed, frozen and thawed. */
import { expect, test, vi } from "vitest";
import type { Store } from "../../src/index.js";
import { idempotentHandler, type IdempotentContext, type LambdaOptions } from "../../src/lambda.js";
import { memoryStore } from "../../stores/memory.js";
import { fakeClock } from "../support/clock.js";
import { deferred } from "../support/deferred.js";
import { listen } from "../support/events.js";
import { invocation } from "../support/lambda.js";
import { clientSees, eventOf, type Seen } from "./gateway.js";

const event = eventOf("http-api", { key: "k" });
const never = () => new Promise<never>(() => {});
const broken = async () => {
  throw new Error("ECONNREFUSED");
};

type Keyed = Required<IdempotentContext>;

/** A sandbox with a counting handler on a store. */
function sandbox(
  store: Store,
  options: Partial<LambdaOptions> = {},
  work: (context: Keyed) => Promise<void> = async () => {},
) {
  let runs = 0;
  const handler = idempotentHandler(
    async (_event, context) => {
      runs += 1;
      const body = `run ${runs}`;
      await work(context as Keyed);
      return { statusCode: 201, body };
    },
    store,
    { leaseMs: 9_000, onError: () => {}, ...options },
  );
  return {
    invoke: async (timeoutMs?: number): Promise<Seen> =>
      clientSees("http-api", await handler(event, invocation(timeoutMs))),
    handler,
    runs: () => runs,
  };
}

/** The ends of all leases that are asked for, relative to the beginning. */
function watchLeases(store: Store) {
  const ends: number[] = [];
  const startedAt = performance.now();
  const watch = (leaseMs: number) => {
    expect(Number.isInteger(leaseMs)).toBe(true);
    ends.push(performance.now() - startedAt + leaseMs);
  };
  const watched: Store = {
    ...store,
    lock: (key, fingerprint, leaseMs) => {
      watch(leaseMs);
      return store.lock(key, fingerprint, leaseMs);
    },
    extend: (lease, leaseMs) => {
      watch(leaseMs);
      return store.extend(lease, leaseMs);
    },
  };
  return { ends, watched };
}

test("no lease reaches beyond its invocation, and the last one reaches its end", async () => {
  using clock = fakeClock();
  const { ends, watched } = watchLeases(memoryStore());
  const finish = deferred();
  let context: Keyed | undefined;
  const { invoke } = sandbox(watched, {}, (given) => {
    context = given;
    return finish.promise;
  });

  const answer = invoke(20_000);
  await clock.advance(19_999);
  expect(context?.idempotency).toMatchObject({ held: true });
  finish.resolve();

  expect(await answer).toMatchObject({ status: 201 });
  expect(ends).toEqual([9_000, 12_000, 15_000, 18_000, 20_000]);
});

test("an invocation shorter than a lease takes a short lease, and renews nothing", async () => {
  using clock = fakeClock();
  const { ends, watched } = watchLeases(memoryStore());
  const { invoke } = sandbox(watched, {}, () => clock.advance(2_900));

  expect(await invoke(3_000)).toMatchObject({ status: 201 });
  expect(ends).toEqual([3_000]);
});

test("C18, P4: an invocation killed at its end leaves its key free at that moment", async () => {
  using clock = fakeClock();
  using events = listen();
  const store = memoryStore();
  const killed = sandbox(store, {}, never);
  void killed.invoke(3_000);
  await clock.advance(2_999);

  const next = sandbox(store);
  expect(await next.invoke()).toMatchObject({ status: 409 });
  await clock.advance(1);
  expect(await next.invoke()).toMatchObject({ status: 201 });
  expect(events.types).toContain("takeover");
});

test.each([0, 99])("with %i ms left nothing is claimed: 503, and a retry runs", async (leftMs) => {
  using _clock = fakeClock();
  const store = memoryStore();
  const lock = vi.fn<Store["lock"]>((...args) => store.lock(...args));
  const { invoke, runs } = sandbox({ ...store, lock });

  const refused = await invoke(leftMs);

  expect(refused).toMatchObject({ status: 503, fields: { "retry-after": ["1"] } });
  expect(JSON.parse(refused.body.toString())).toMatchObject({ code: "LOCK_FAILED" });
  expect(lock).not.toHaveBeenCalled();
  expect(await invoke(100)).toMatchObject({ status: 201 });
  expect(runs()).toBe(1);
});

test.each<[string, unknown]>([
  ["no context", undefined],
  ["a context without the function", { awsRequestId: "1" }],
  ["a function that answers no number", { getRemainingTimeInMillis: () => undefined }],
])("%s leaves the lease at leaseMs", async (_, context) => {
  using _clock = fakeClock();
  const { ends, watched } = watchLeases(memoryStore());
  const { handler } = sandbox(watched);

  await handler(event, context as object);
  expect(ends).toEqual([9_000]);
});

test("P8: a store that hangs on lock makes it 503 before the invocation ends", async () => {
  using clock = fakeClock();
  const { invoke } = sandbox({ ...memoryStore(), lock: never });
  const answer = invoke(500);
  await clock.advance(499);
  expect(await answer).toMatchObject({ status: 503 });
});

test("C19: a store that comes back while time is left: the first client gets its answer, and so does the retry", async () => {
  using clock = fakeClock();
  using events = listen();
  const store = memoryStore();
  let isDown = true;
  const set: Store["set"] = (...args) => (isDown ? broken() : store.set(...args));
  const { invoke, runs } = sandbox({ ...store, set });

  const answer = invoke(20_000);
  await clock.advance(6_000);
  isDown = false;
  await clock.advance(2_000);

  expect(await answer).toMatchObject({ status: 201, body: Buffer.from("run 1") });
  expect(vi.getTimerCount()).toBe(0);
  expect(await invoke()).toMatchObject({ status: 201, body: Buffer.from("run 1") });
  expect(runs()).toBe(1);
  expect(events.types).toEqual(["response-pending", "response-settled"]);
});

test("C19: a store that stays away: 503 before the invocation ends, and nothing is left to do", async () => {
  using clock = fakeClock();
  using events = listen();
  const { ends, watched } = watchLeases(memoryStore());
  const { invoke } = sandbox({ ...watched, set: broken });

  const answer = invoke(6_000);
  await clock.advance(5_999);

  expect(await answer).toMatchObject({ status: 503 });
  expect(vi.getTimerCount()).toBe(0);
  expect(events.types).toEqual(["response-pending", "response-given-up"]);
  expect(Math.max(...ends)).toBeLessThanOrEqual(6_000);
});

test("P8: a store that hangs on set makes it 503 before the invocation ends", async () => {
  using clock = fakeClock();
  const { invoke } = sandbox({ ...memoryStore(), set: never });
  const answer = invoke(1_000);
  await clock.advance(999);
  expect(await answer).toMatchObject({ status: 503 });
  expect(vi.getTimerCount()).toBe(0);
});

test("a store that finds a successor while the response waits: the successor's answer", async () => {
  using clock = fakeClock();
  using events = listen();
  const store = memoryStore();
  const cutOff = { isDown: true };
  const { invoke } = sandbox({
    ...store,
    extend: (...args) => (cutOff.isDown ? broken() : store.extend(...args)),
    set: (...args) => (cutOff.isDown ? broken() : store.set(...args)),
  });
  const answer = invoke(30_000);
  await clock.advance(9_000);
  expect(await sandbox(store, {}, async () => {}).invoke()).toMatchObject({ status: 201 });
  cutOff.isDown = false;
  await clock.advance(2_000);

  expect(await answer).toMatchObject({ status: 201, fields: { "idempotency-replayed": ["true"] } });
  expect(events.types).toEqual(expect.arrayContaining(["takeover", "lease-lost"]));
});

test.each<[string, Partial<Store>, (context: Keyed) => Promise<void>]>([
  ["a response", {}, async () => {}],
  [
    "an error of the handler",
    {},
    async () => {
      throw new Error("declined");
    },
  ],
  ["a response that is no result", {}, async ({ idempotency }) => idempotency.doNotStore()],
  ["a store failure", { lock: broken }, async () => {}],
])("after %s no timer is left that could fire in the next invocation", async (_, verbs, work) => {
  using clock = fakeClock();
  using events = listen();
  const { ends, watched } = watchLeases(memoryStore());
  const { invoke } = sandbox({ ...watched, ...verbs }, {}, work);

  await invoke(20_000).catch(() => {});
  const asked = ends.length;
  expect(vi.getTimerCount()).toBe(0);
  const told = events.types.length;

  // Thawed an hour later.
  await clock.advance(3_600_000);
  expect(ends).toHaveLength(asked);
  expect(events.types).toHaveLength(told);
});

test("C13: work that a frozen sandbox resumes has lost its key, and its result gives way to the successor's", async () => {
  using clock = fakeClock();
  const store = memoryStore();
  const thaw = deferred();
  let context: Keyed | undefined;
  const frozen = sandbox(store, {}, (given) => {
    context = given;
    return thaw.promise;
  });
  const late = frozen.invoke(3_000);
  await clock.advance(3_000);
  const successor = await sandbox(store, {}, async () => {}).invoke();
  await clock.advance(600_000);
  expect(context?.idempotency).toMatchObject({ held: false, signal: { aborted: true } });
  thaw.resolve();

  expect((await late).body).toEqual(successor.body);
});

test("a duplicate that waits is answered before its own invocation ends", async () => {
  using clock = fakeClock();
  const store = memoryStore();
  void sandbox(store, {}, never).invoke(60_000);
  const duplicate = sandbox(store, { onConflict: "wait" }).invoke(3_000);
  await clock.advance(2_999);
  expect(await duplicate).toMatchObject({ status: 409 });
});

test("C42: invocations at once in one process have each their own end", async () => {
  using clock = fakeClock();
  const { ends, watched } = watchLeases(memoryStore());
  const contexts: Keyed[] = [];
  const finish = deferred();
  const { handler } = sandbox(watched, {}, (context) => {
    contexts.push(context);
    return finish.promise;
  });
  const answers = [2_000, 5_000].map((ms) =>
    handler(eventOf("http-api", { key: `k${ms}` }), invocation(ms)),
  );
  await clock.advance(2_001);

  expect(ends).toEqual([2_000, 5_000]);
  expect(contexts.map(({ idempotency }) => idempotency.held)).toEqual([false, true]);
  expect(contexts.map(({ idempotency }) => idempotency.key)).toEqual(["k2000", "k5000"]);
  finish.resolve();
  await Promise.all(answers);
});
