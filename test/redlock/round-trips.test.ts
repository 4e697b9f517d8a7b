/** What a request costs, counted on the wire between the store and each node. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startMasters, type RedisMasters, type RedisNode } from "../../infra/services/redis.js";
import type { Store } from "../../src/index.js";
import { answer, FINGERPRINT, LONG_MS } from "../../src/testing/stage.js";
import { acquired, completed, freshKey, party, plant, proxied, warm, type Party } from "./stage.js";

let masters: RedisMasters;
let nodes: readonly RedisNode[];

beforeAll(async () => {
  masters = await startMasters(3);
  ({ nodes } = masters);
  await warm(nodes);
});
afterAll(() => masters.close());

function claim(store: Store, key: string) {
  return store.lock(key, FINGERPRINT, LONG_MS);
}

/** What each node was sent since the last time, once all of it is answered. */
async function sent({ proxies }: Party) {
  return await Promise.all(
    proxies.map(async (proxy) => {
      const { traffic } = proxy;
      const total = (counts: Record<string, number>) =>
        Object.values(counts).reduce((sum, count) => sum + count, 0);
      await proxy.until(() => total(traffic.replies) === total(traffic.requests));
      const { requests, roundTrips } = traffic;
      proxy.resetTraffic();
      return { ...requests, roundTrips };
    }),
  );
}

const onEach = <T>(cost: T): T[] => [cost, cost, cost];

describe("a node is sent", () => {
  test("one claim and one record for a fresh request, one claim for a replay, and nothing to give back", async () => {
    const client = await proxied(nodes);
    const key = freshKey();

    const lease = await acquired(claim(client.store, key));
    expect(await sent(client)).toEqual(onEach({ SET: 1, roundTrips: 1 }));
    expect(await client.store.set(lease, answer(), LONG_MS)).toEqual({ state: "stored" });
    expect(await sent(client)).toEqual(onEach({ EVALSHA: 1, roundTrips: 1 }));
    for (let turn = 0; turn < 10; turn += 1) {
      await completed(claim(client.store, key));
      expect(await sent(client)).toEqual(onEach({ SET: 1, roundTrips: 1 }));
    }
  });

  test("one claim by whoever comes while the first one runs", async () => {
    const client = await proxied(nodes);
    const key = freshKey();
    await acquired(claim((await party(nodes)).store, key));

    const found = await claim(client.store, key);
    if (found.state !== "in-progress") throw new Error(`The claim was ${found.state}.`);
    expect(found.fingerprint).toBe(FINGERPRINT);
    expect(found.retryAfterMs).toBeGreaterThanOrEqual(LONG_MS);

    expect(await sent(client)).toEqual(onEach({ SET: 1, roundTrips: 1 }));
  });

  test("one claim, and one record where it is adopted, by whoever finds what died on its way", async () => {
    const client = await proxied(nodes);
    const key = freshKey();
    await plant(nodes.slice(0, 1), key, { token: "died", response: answer() });
    await client.proxies[2]?.refuse();

    await completed(claim(client.store, key));

    expect(await sent(client)).toEqual([
      { SET: 1, roundTrips: 1 },
      { SET: 1, EVALSHA: 1, roundTrips: 2 },
      { roundTrips: 0 },
    ]);
  });

  test("one claim for a replay, and the record where a node has missed it", async () => {
    const client = await proxied(nodes);
    const key = freshKey();
    const [, , third] = client.proxies;
    await plant(nodes.slice(0, 2), key, { token: "author", response: answer() });

    await completed(claim(client.store, key));
    // Nobody waits for that.
    await third?.until(() => (third.traffic.replies["EVALSHA"] ?? 0) > 0);
    // Behind whatever else is sent.
    await client.store.get(key);

    const [first, second, last] = await sent(client);
    expect([first, second]).toMatchObject([{ SET: 1 }, { SET: 1 }]);
    expect(first).not.toHaveProperty("EVALSHA");
    expect(last).toMatchObject({ SET: 1, EVALSHA: 1, GET: 1 });
  });

  test("one command for a renewal, one for a release, and one for a read", async () => {
    const client = await proxied(nodes);
    const lease = await acquired(claim(client.store, freshKey()));
    await sent(client);

    expect(await client.store.extend(lease, LONG_MS)).toBe(true);
    expect(await sent(client)).toEqual(onEach({ EVALSHA: 1, roundTrips: 1 }));
    await client.store.unlock(lease);
    expect(await sent(client)).toEqual(onEach({ EVALSHA: 1, roundTrips: 1 }));
    await client.store.get(lease.key);
    expect(await sent(client)).toEqual(onEach({ GET: 1, roundTrips: 1 }));
  });

  test("one look at its marker on each new connection, and none after that", async () => {
    const client = await proxied(nodes);
    const looked = (proxy: Party["proxies"][number]) =>
      proxy.until(() => proxy.traffic.requests["GET"] === 1);

    for (const proxy of client.proxies) proxy.reset();
    await Promise.all(client.proxies.map(looked));
    await sent(client);

    for (let turn = 0; turn < 3; turn += 1) await acquired(claim(client.store, freshKey()));
    expect(await sent(client)).toEqual(onEach({ SET: 3, roundTrips: 3 }));
  });

  test("what it was granted in vain is given back, and only that", async () => {
    const client = await proxied(nodes);
    const other = await proxied(nodes);
    const key = freshKey();
    await other.proxies[0]?.refuse();
    await acquired(claim(other.store, key));

    expect(await claim(client.store, key)).toMatchObject({ state: "in-progress" });
    // Nobody waits for that.
    const [empty] = client.proxies;
    await empty?.until(() => empty.traffic.requests["EVALSHA"] === 1);

    expect(await sent(client)).toEqual([
      { SET: 1, EVALSHA: 1, roundTrips: 2 },
      { SET: 1, roundTrips: 1 },
      { SET: 1, roundTrips: 1 },
    ]);
  });
});

describe("with regions 0, 40 and 80 ms away", () => {
  const ROUND_TRIPS_MS = [0, 40, 80] as const;
  const [, MAJORITY_MS, SLOWEST_MS] = ROUND_TRIPS_MS;

  async function regions(): Promise<Store> {
    const { store, proxies } = await proxied(nodes);
    for (const [at, proxy] of proxies.entries()) proxy.delay((ROUND_TRIPS_MS[at] ?? 0) / 2);
    return store;
  }

  /** The median of several, in milliseconds. */
  async function measured(run: () => Promise<unknown>): Promise<number> {
    const times: number[] = [];
    for (let turn = 0; turn < 9; turn += 1) {
      const startedAt = performance.now();
      await run();
      times.push(performance.now() - startedAt);
    }
    return times.toSorted((a, b) => a - b)[4] ?? 0;
  }

  test("a claim hears them all, a record is stored, a lease renewed and a replay found as soon as a majority answers", async () => {
    const store = await regions();
    const key = freshKey();
    await store.set(await acquired(claim(store, key)), answer(), LONG_MS);

    const claimMs = await measured(() => acquired(claim(store, freshKey())));
    const freshMs = await measured(async () => {
      const lease = await acquired(claim(store, freshKey()));
      await store.set(lease, answer(), LONG_MS);
    });
    const replayMs = await measured(() => completed(claim(store, key)));
    const held = await acquired(claim(store, freshKey()));
    const renewalMs = await measured(() => store.extend(held, LONG_MS));

    // At least what the distance takes, and less than one more round trip.
    expect(claimMs / SLOWEST_MS).toBeGreaterThan(0.95);
    expect(claimMs / SLOWEST_MS).toBeLessThan(1.9);
    expect(freshMs / (SLOWEST_MS + MAJORITY_MS)).toBeGreaterThan(0.95);
    expect(freshMs / (2 * SLOWEST_MS)).toBeLessThan(1.4);
    expect(replayMs / MAJORITY_MS).toBeGreaterThan(0.95);
    expect(replayMs / MAJORITY_MS).toBeLessThan(1.9);
    expect(renewalMs / MAJORITY_MS).toBeGreaterThan(0.95);
    expect(renewalMs / MAJORITY_MS).toBeLessThan(1.9);
  });
});
