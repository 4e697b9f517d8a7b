/** Replies that are lost, servers that hang, holders that come too late: on DynamoDB Local, behind a proxy. */
import { randomBytes, randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { until } from "../../infra/services/until.js";
import { StoreUnavailableError, type Lease, type Store } from "../../src/index.js";
import {
  acquire,
  answer,
  complete,
  expectCompleted,
  expectFree,
  expectHeld,
  FINGERPRINT,
  LONG_MS,
} from "../../src/testing/stage.js";
import {
  clientOf,
  end,
  itemAt,
  meddle,
  openStage,
  operation,
  proxyTo,
  storeOn,
  urlOf,
  type Stage,
} from "./stage.js";

vi.setConfig({ testTimeout: 30_000, hookTimeout: 120_000 });

let stage: Stage;

beforeAll(async () => {
  stage = await openStage();
});
afterAll(() => stage.close());

/** A store whose connection a test can break, warm: it knows DynamoDB's time. */
async function fragile(limits: { timeoutMs?: number; requestTimeoutMs?: number } = {}) {
  const proxy = await proxyTo(stage);
  const store = storeOn(stage, { endpoint: urlOf(proxy), ...limits });
  await store.get("warm");
  proxy.resetTraffic();
  return { proxy, store };
}

type Use = (store: Store, lease: Lease) => Promise<unknown>;

const RESPONSE = answer();
/** In three chunks. */
const LARGE = answer({ body: randomBytes(900_000) });
const VERBS: readonly (readonly [name: string, operation: string, use: Use, says: unknown])[] = [
  ["extend", "UpdateItem", (store, lease) => store.extend(lease, LONG_MS), true],
  ["set", "PutItem", (store, lease) => store.set(lease, RESPONSE, LONG_MS), { state: "stored" }],
  ["unlock", "DeleteItem", (store, lease) => store.unlock(lease), undefined],
  ["delete", "DeleteItem", (store, lease) => store.delete(lease.key), true],
];

describe("a reply is lost", () => {
  test("C3: of a lock that the SDK sends again: it is granted, and no conflict with itself", async () => {
    const proxy = await proxyTo(stage);
    const client = clientOf(urlOf(proxy), { maxAttempts: 3 });
    const store = storeOn(stage, { client });
    await store.get("warm");
    proxy.resetTraffic();
    const cut = proxy.cutAfterRequest(operation("UpdateItem"));
    const key = randomUUID();

    const lease = await acquire(store, key);

    await cut;
    expect(proxy.traffic.requests["UpdateItem"]).toBe(2);
    await expectHeld(storeOn(stage), key);
    await expectCompleted(storeOn(stage), key, await complete(store, lease));
  });

  test("of a lock that the store sends again: the same", async () => {
    const { proxy, store } = await fragile();
    const cut = proxy.cutAfterRequest(operation("UpdateItem"));
    const key = randomUUID();

    const lease = await acquire(store, key);

    await cut;
    expect(proxy.traffic.requests["UpdateItem"]).toBe(2);
    await expectHeld(storeOn(stage), key);
    await complete(store, lease);
  });

  test("of a lock that took over: it is still told that an earlier lease had run out", async () => {
    const { proxy, store } = await fragile();
    const key = randomUUID();
    await acquire(store, key);
    await end(stage, key);
    const cut = proxy.cutAfterRequest(operation("UpdateItem"));

    const claim = await store.lock(key, FINGERPRINT, LONG_MS);

    await cut;
    expect(claim).toMatchObject({ state: "acquired", takeover: true });
  });

  test("of a lock where nobody had one: it is told of no earlier lease", async () => {
    const { proxy, store } = await fragile();
    const cut = proxy.cutAfterRequest(operation("UpdateItem"));

    const claim = await store.lock(randomUUID(), FINGERPRINT, LONG_MS);

    await cut;
    expect(claim).toMatchObject({ state: "acquired" });
    expect(claim).not.toHaveProperty("takeover");
  });

  test.each(VERBS)("of %s: it is repeated, and says what it did", async (_, name, use, says) => {
    const { proxy, store } = await fragile();
    const lease = await acquire(store, randomUUID());
    const cut = proxy.cutAfterRequest(operation(name));

    expect(await use(store, lease)).toEqual(says);

    await cut;
    expect(proxy.traffic.requests[name]).toBeGreaterThan(1);
  });

  test("of a large set, chunk by chunk and at its end: it is stored, once", async () => {
    const { proxy, store } = await fragile();
    for (const nth of [1, 2, 3, 4]) {
      const key = randomUUID();
      const lease = await acquire(store, key);
      proxy.resetTraffic();
      let seen = 0;
      const cut = proxy.cutAfterRequest(
        (bytes) => operation("PutItem")(bytes) && (seen += 1) === nth,
      );
      await complete(store, lease, LARGE);
      await cut;
      // Three chunks and the item, and one of them twice.
      expect(proxy.traffic.requests["PutItem"]).toBeGreaterThanOrEqual(5);
      await expectCompleted(storeOn(stage), key, LARGE);
    }
  });
});

describe("a server that hangs", () => {
  const LIMITS = { timeoutMs: 300, requestTimeoutMs: 100 };

  test("fails every verb in time, with what happened, and is used again when it is back", async () => {
    const { proxy, store } = await fragile(LIMITS);
    const [extended, completed] = [
      await acquire(store, randomUUID()),
      await acquire(store, randomUUID()),
    ];
    proxy.hang();

    const started = performance.now();
    const outcomes = await Promise.allSettled([
      store.get(randomUUID()),
      store.lock(randomUUID(), FINGERPRINT, LONG_MS),
      store.extend(extended, LONG_MS),
      store.set(completed, RESPONSE, LONG_MS),
      store.unlock(completed),
      store.delete(randomUUID()),
    ]);

    // A busy machine may fire timers late.
    expect(performance.now() - started).toBeLessThan(LIMITS.timeoutMs + 2_000);
    for (const outcome of outcomes) {
      expect(outcome).toMatchObject({ status: "rejected", reason: { code: "STORE_UNAVAILABLE" } });
      expect(String((outcome as PromiseRejectedResult).reason)).toMatch(/no reply within \d+ ms/);
    }
    await proxy.heal();
    await until("it is used again", () => store.extend(extended, LONG_MS).catch(() => false));
  });

  test("a claim that it has executed nevertheless is given back", async () => {
    const { proxy, store } = await fragile(LIMITS);
    const key = randomUUID();
    proxy.dropReplies();

    await expect(store.lock(key, FINGERPRINT, LONG_MS)).rejects.toThrow(StoreUnavailableError);

    await until("the key is free", async () => (await itemAt(stage, key)) === undefined);
    expect(proxy.traffic.requests["UpdateItem"]).toBeGreaterThan(0);
    await expectFree(storeOn(stage), key);
  });

  test("one attempt that hangs costs its limit, not the request: the next one is answered", async () => {
    const { proxy, store } = await fragile({ timeoutMs: 10_000, requestTimeoutMs: 200 });
    const key = randomUUID();
    proxy.dropReplies();
    const claim = store.lock(key, FINGERPRINT, LONG_MS);
    await proxy.until(() => (proxy.traffic.requests["UpdateItem"] ?? 0) >= 2);
    await proxy.heal();

    expect(await claim).toMatchObject({ state: "acquired" });
  });
});

describe("a holder whose lease ran out and was taken over", () => {
  const LATE: readonly (readonly [string, Use, unknown])[] = [
    ["set", (store, lease) => store.set(lease, answer(), LONG_MS), { state: "lost" }],
    ["a large set", (store, lease) => store.set(lease, LARGE, LONG_MS), { state: "lost" }],
    ["extend", (store, lease) => store.extend(lease, LONG_MS), false],
    ["unlock", (store, lease) => store.unlock(lease), undefined],
  ];

  test.each(LATE)("%s that arrives late changes nothing", async (_, use, says) => {
    const { proxy, store } = await fragile();
    const key = randomUUID();
    const lease = await acquire(store, key);
    proxy.hold();
    const late = use(store, lease);
    await proxy.until(() => proxy.held > 0);
    await end(stage, key);
    const successor = storeOn(stage);
    const claim = await successor.lock(key, FINGERPRINT, LONG_MS);
    expect(claim).toMatchObject({ state: "acquired", takeover: true });
    const before = await itemAt(stage, key);

    await proxy.release();

    expect(await late).toEqual(says);
    expect(await itemAt(stage, key)).toEqual(before);
  });

  test("its set gets the successor's record, and changes nothing", async () => {
    const store = storeOn(stage);
    const key = randomUUID();
    const stale = await acquire(store, key);
    await end(stage, key);
    const winner = await complete(store, await acquire(store, key), LARGE);
    const before = await itemAt(stage, key);

    const lost = await store.set(stale, answer(), LONG_MS);

    expect(lost).toMatchObject({ state: "lost", winner: { timestamp: winner.timestamp } });
    expect(await itemAt(stage, key)).toEqual(before);
  });
});

test("what is stored where the lease has gone is stored, and says so", async () => {
  const store = storeOn(stage);
  const lease = await acquire(store, randomUUID());
  await store.delete(lease.key);

  const stored = { state: "stored", lapsed: true };
  expect(await store.set(lease, RESPONSE, LONG_MS)).toEqual(stored);
  await expectCompleted(store, lease.key, RESPONSE);
});

test("so is what is stored where a successor's lease has run out", async () => {
  const store = storeOn(stage);
  const lease = await acquire(store, randomUUID());
  await end(stage, lease.key);
  await acquire(store, lease.key);
  await end(stage, lease.key);

  const stored = { state: "stored", lapsed: true };
  expect(await store.set(lease, RESPONSE, LONG_MS)).toEqual(stored);
});

test("an unlock that comes after the lease, but before anybody else, empties the key", async () => {
  const store = storeOn(stage);
  const lease = await acquire(store, randomUUID());
  await end(stage, lease.key);

  await store.unlock(lease);

  expect(await itemAt(stage, lease.key)).toBeUndefined();
});

test("a lease that has run out by less than clocks may differ still counts, and for how long is told", async () => {
  const store = storeOn(stage, { clockSkewMs: 60_000 });
  const { key } = await acquire(store, randomUUID());
  const endsAt = { N: `${Date.now() - 10_000}` };
  await meddle(stage, key, (item) => ({ ...item, endsAt }));

  const claim = await store.lock(key, FINGERPRINT, LONG_MS);

  expect(claim).toMatchObject({ state: "in-progress" });
  const { retryAfterMs } = claim as { readonly retryAfterMs: number };
  expect(retryAfterMs).toBeGreaterThan(30_000);
  expect(retryAfterMs).toBeLessThanOrEqual(51_000);
});

test("what is over but not yet deleted can be claimed, and is not replayed", async () => {
  const store = storeOn(stage);
  const [held, completed] = [randomUUID(), randomUUID()];
  await acquire(store, held);
  await complete(store, await acquire(store, completed), LARGE);
  await end(stage, held);
  await end(stage, completed);

  expect(await itemAt(stage, completed)).toBeDefined();
  expect(await store.get(completed)).toBeUndefined();
  expect(await store.lock(held, FINGERPRINT, LONG_MS)).toMatchObject({ takeover: true });
  const claim = await store.lock(completed, FINGERPRINT, LONG_MS);
  expect(claim).toMatchObject({ state: "acquired" });
  expect(claim).not.toHaveProperty("takeover");
  // Nothing of the old record stays in the item.
  expect(Object.keys((await itemAt(stage, completed)) ?? {}).toSorted()).toEqual([
    "endsAt",
    "expiresAt",
    "fingerprint",
    "id",
    "previous",
    "state",
    "token",
  ]);
});

test("C5, C17: every item has a TTL in whole seconds that is not before its end", async () => {
  const store = storeOn(stage);
  const key = randomUUID();
  const lease = await acquire(store, key);
  const ends = async () => {
    const item = (await itemAt(stage, key)) ?? {};
    return [Number(item["endsAt"]?.N), Number(item["expiresAt"]?.N) * 1_000] as const;
  };
  const [leaseEnds, leaseTtl] = await ends();
  expect(leaseTtl).toBeGreaterThanOrEqual(leaseEnds + 24 * 60 * 60 * 1000);
  await store.extend(lease, 7 * 24 * 60 * 60 * 1000);
  const [renewedEnds, renewedTtl] = await ends();
  expect(renewedTtl).toBeGreaterThanOrEqual(renewedEnds);
  await complete(store, lease);
  const [recordEnds, recordTtl] = await ends();
  expect(recordTtl).toBeGreaterThanOrEqual(recordEnds);
  expect(recordTtl).toBeLessThan(recordEnds + 60_000);
});

test("a closed store says so", async () => {
  const store = storeOn(stage);
  await store.close?.();
  await expect(store.get("key")).rejects.toThrow("The DynamoDB store is closed.");
});
