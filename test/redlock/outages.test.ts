/** Nodes that die, hang or keep another time; leases that outlive that, and clocks that jump. */
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from "vitest";
import { startMasters, type RedisMasters, type RedisNode } from "../../infra/services/redis.js";
import type { Lease, LockResult, Store } from "../../src/index.js";
import { answer, FINGERPRINT, LONG_MS } from "../../src/testing/stage.js";
import { lockValue } from "../../stores/redis/value.js";
import {
  acquired,
  completed,
  failure,
  freshKey,
  NODE_TIMEOUT_MS,
  party,
  PATIENT,
  PREFIX,
  proxied,
  type PartyOptions,
  SLACK_MS,
  standing,
  three,
  warm,
} from "./stage.js";
import { named } from "../redis/clients.js";

/** Longer than the longest pause between two looks at a node that is down. */
const A_WHILE_MS = 2_500;

let masters: RedisMasters;
let nodes: readonly RedisNode[];

beforeAll(async () => {
  masters = await startMasters(3);
  ({ nodes } = masters);
  await warm(nodes);
});
afterAll(() => masters.close());

function claim(store: Store, key: string, leaseMs = LONG_MS) {
  return store.lock(key, FINGERPRINT, leaseMs);
}

/** Only the wall clock jumps; leases are measured by another. */
function jumpingClock(): (ms: number) => void {
  const now = Date.now;
  let aheadMs = 0;
  const clock = vi.spyOn(Date, "now").mockImplementation(() => now() + aheadMs);
  onTestFinished(() => clock.mockRestore());
  return (ms) => {
    aheadMs += ms;
  };
}

async function timed<T>(operation: Promise<T>): Promise<{ value: T; ms: number }> {
  const startedAt = performance.now();
  const value = await operation;
  return { value, ms: performance.now() - startedAt };
}

describe("a record whose TTL ends on nodes at different moments", () => {
  test("is replayed until its time, then the key is free: no error, no copy that lives on, no second run", async () => {
    const { store } = await party(nodes);
    const key = freshKey();
    const ttlMs = 600;
    const response = answer({}, ttlMs);
    await store.set(await acquired(claim(store, key)), response, ttlMs);
    // The first two clocks run fast, the last one slow: its copy stays for seconds.
    const endsMs = [50, 150, 5_000];
    await Promise.all(
      nodes.map((node, at) => node.command("PEXPIRE", PREFIX + key, `${endsMs[at]}`)),
    );

    const results: LockResult[] = [];
    while (results.at(-1)?.state !== "acquired") {
      const claims = await Promise.all(Array.from({ length: 3 }, () => claim(store, key, 5_000)));
      results.push(...claims.toSorted((a, b) => b.state.localeCompare(a.state)));
      await sleep(5);
    }

    const lateMs = Date.now() - response.expiresAt;
    expect(lateMs).toBeGreaterThanOrEqual(0);
    expect(lateMs).toBeLessThan(SLACK_MS);
    const replays = results.filter(({ state }) => state === "completed");
    expect(replays).toEqual(replays.map(() => ({ state: "completed", response })));
    const grants = results.filter((result) => result.state === "acquired");
    expect(grants).toHaveLength(1);
    const next = answer();
    const lease = await acquired(Promise.resolve(grants[0] as LockResult));
    expect(await store.set(lease, next, LONG_MS)).toEqual({ state: "stored" });
    expect(await store.get(key)).toEqual(next);
  });
});

test("an operator's delete misses a node that is down: its copy comes back with it, and goes with the next delete", async () => {
  const { store, proxies, ready } = await proxied(nodes);
  const third = three(proxies)[2];
  const key = freshKey();
  const response = answer();
  await store.set(await acquired(claim(store, key)), response, LONG_MS);
  await expect.poll(() => standing(nodes, key)).toEqual(["R", "R", "R"]);
  await third.refuse();

  expect(await store.delete(key)).toBe(true);
  expect(await store.get(key)).toBeUndefined();
  await third.heal();
  await ready();
  expect(await completed(claim(store, key))).toEqual(response);

  expect(await store.delete(key)).toBe(true);
  await acquired(claim(store, key));
});

describe("a lease", () => {
  test("is taken by a node that comes back without it, so that another may go", async () => {
    const { store, proxies, ready } = await proxied(nodes);
    const [, second, third] = three(proxies);
    const key = freshKey();
    await third.refuse();
    const lease = await acquired(claim(store, key));
    await third.heal();
    await ready();
    expect(await standing(nodes, key)).toEqual(["L", "L", "-"]);

    expect(await store.extend(lease, LONG_MS)).toBe(true);

    await expect.poll(() => standing(nodes, key)).toEqual(["L", "L", "L"]);
    await second.refuse();
    expect(await store.extend(lease, LONG_MS)).toBe(true);
    expect(await store.set(lease, answer(), LONG_MS)).toEqual({ state: "stored" });
  });

  test("that one node has and another forgot is whole again, although the third is held by somebody else", async () => {
    const { store } = await proxied(nodes);
    const key = freshKey();
    const lease = await acquired(claim(store, key));
    await expect.poll(() => standing(nodes, key)).toEqual(["L", "L", "L"]);
    await nodes[1]?.command("DEL", PREFIX + key);
    await nodes[2]?.command("SET", PREFIX + key, lockValue("another", LONG_MS, FINGERPRINT));

    expect(await store.extend(lease, LONG_MS)).toBe(true);

    expect(await standing(nodes, key)).toEqual(["L", "L", "L"]);
    await store.delete(key);
  });

  test("that one node has given to somebody else is renewed on the others, and not asked for again there", async () => {
    const { store, proxies } = await proxied(nodes);
    const [, , third] = three(proxies);
    const lease = await acquired(claim(store, freshKey()));
    await nodes[2]?.command("SET", PREFIX + lease.key, lockValue("another", LONG_MS, FINGERPRINT));
    for (const proxy of proxies) proxy.resetTraffic();

    expect(await store.extend(lease, LONG_MS)).toBe(true);
    // Behind whatever else is sent.
    await store.get(lease.key);
    await third.until(() => third.traffic.replies["GET"] === 1);

    expect(third.traffic.requests).toEqual({ EVALSHA: 1, GET: 1 });
  });

  test("outlives the death of a node in the same moment in which another comes back without it", async () => {
    const { store, proxies, ready } = await proxied(nodes);
    const [, second, third] = three(proxies);
    const key = freshKey();
    await third.refuse();
    const lease = await acquired(claim(store, key));
    await third.heal();
    await ready();
    await second.refuse();

    expect(await store.extend(lease, LONG_MS)).toBe(true);

    expect(await standing(nodes, key)).toEqual(["L", "L", "L"]);
  });

  test("that a majority let go early lets its response be stored, and that is said", async () => {
    const { store } = await party(nodes);
    const lease = await acquired(claim(store, freshKey()));
    await expect.poll(() => standing(nodes, lease.key)).toEqual(["L", "L", "L"]);
    for (const node of nodes.slice(0, 2)) await node.command("DEL", PREFIX + lease.key);

    const response = answer();
    const stored = { state: "stored", lapsed: true };
    expect(await store.set(lease, response, LONG_MS)).toEqual(stored);
    expect(await completed(claim(store, lease.key))).toEqual(response);
  });

  test("that only a node missed has not lapsed", async () => {
    const { store } = await party(nodes);
    const lease = await acquired(claim(store, freshKey()));
    await expect.poll(() => standing(nodes, lease.key)).toEqual(["L", "L", "L"]);
    await nodes[2]?.command("DEL", PREFIX + lease.key);

    expect(await store.set(lease, answer(), LONG_MS)).toEqual({ state: "stored" });
  });

  test("that ran out is not brought back, nor is anything put in its place", async () => {
    const { store } = await party(nodes);
    const key = freshKey();
    const lease = await acquired(claim(store, key, 100));
    await expect.poll(() => standing(nodes, key)).toEqual(["-", "-", "-"]);

    expect(await store.extend(lease, LONG_MS)).toBe(false);

    expect(await standing(nodes, key)).toEqual(["-", "-", "-"]);
  });

  test("is lost where a majority let it go, since somebody may have executed there and gone", async () => {
    const { store } = await party(nodes);
    const key = freshKey();
    const lease = await acquired(claim(store, key));
    for (const node of nodes.slice(0, 2)) await node.command("DEL", PREFIX + key);
    const other = await party(nodes);
    await other.store.unlock(await acquired(claim(other.store, key)));

    expect(await store.extend(lease, LONG_MS)).toBe(false);

    expect(await standing(nodes, key)).toEqual(["-", "-", "L"]);
  });

  test("is not kept by a node that was asked to take it again and did not say that it has", async () => {
    const { store, proxies } = await proxied(nodes);
    const [, second, third] = three(proxies);
    const key = freshKey();
    const lease = await acquired(claim(store, key));
    await expect.poll(() => standing(nodes, key)).toEqual(["L", "L", "L"]);
    await nodes[1]?.command("DEL", PREFIX + key);
    await third.refuse();
    const cut = second.cutAfterRequest(named("SET"));

    expect(await failure(store.extend(lease, LONG_MS))).toMatchObject({
      code: "STORE_UNAVAILABLE",
    });
    await cut;
  });

  test("is lost where a majority has another's, and is not put on a node that is empty", async () => {
    const { store } = await party(nodes);
    const key = freshKey();
    const lease = await acquired(claim(store, key));
    await expect.poll(() => standing(nodes, key)).toEqual(["L", "L", "L"]);
    const another = lockValue("another", LONG_MS, FINGERPRINT);
    for (const node of nodes.slice(0, 2)) await node.command("SET", PREFIX + key, another);
    await nodes[2]?.command("DEL", PREFIX + key);

    expect(await store.extend(lease, LONG_MS)).toBe(false);

    expect(await standing(nodes, key)).toEqual(["L", "L", "-"]);
  });

  test("is lost where a majority has another's, though a node is down", async () => {
    const { store, proxies } = await proxied(nodes);
    const key = freshKey();
    const lease = await acquired(claim(store, key));
    await store.delete(key);
    await acquired(claim(store, key));
    await three(proxies)[0].refuse();

    expect(await store.extend(lease, LONG_MS)).toBe(false);
  });

  test("is neither kept nor lost where a majority does not answer", async () => {
    const { store, proxies, ready } = await proxied(nodes);
    const [, ...majority] = proxies;
    const lease = await acquired(claim(store, freshKey()));
    await Promise.all(majority.map((proxy) => proxy.refuse()));

    expect(await failure(store.extend(lease, LONG_MS))).toMatchObject({
      code: "STORE_UNAVAILABLE",
    });

    await Promise.all(majority.map((proxy) => proxy.heal()));
    await ready();
    expect(await store.extend(lease, LONG_MS)).toBe(true);
  });

  test.each([-1, 1])("does not care that the wall clock jumps (%i day)", async (sign) => {
    const jumpWallClock = jumpingClock();
    const { store } = await party(nodes);
    const key = freshKey();
    const lease = await acquired(claim(store, key, 5_000));

    jumpWallClock(sign * 86_400_000);

    expect(lease.validUntil).toBeGreaterThan(performance.now());
    expect(lease.validUntil).toBeLessThanOrEqual(performance.now() + 5_000);
    expect(await store.extend(lease, 5_000)).toBe(true);
    expect(await claim(store, key)).toMatchObject({ state: "in-progress" });
    const rest = (await nodes[0]?.command("PTTL", PREFIX + key)) as number;
    expect(rest).toBeGreaterThan(5_000 - SLACK_MS);
    expect(rest).toBeLessThan(5_100);
    const response = answer();
    expect(await store.set(lease, response, LONG_MS)).toEqual({ state: "stored" });
    expect(await completed(claim(store, key))).toEqual(response);
    const other = await acquired(claim(store, freshKey(), 5_000));
    jumpWallClock(-2 * sign * 86_400_000);
    await store.unlock(other);
    await acquired(claim(store, other.key));
  });

  test("C15: that the nodes took longer to grant than it lasts is not given to anybody", async () => {
    const { store, proxies } = await proxied(nodes, { connect: PATIENT });
    three(proxies)[2].hang();

    const lease = await acquired(claim(store, freshKey(), NODE_TIMEOUT_MS / 2));

    expect(lease.validUntil).toBeGreaterThan(performance.now());
  });

  test("that nodes take longer to grant than it lasts, whenever they are asked, is refused with the reason", async () => {
    const options = { connect: PATIENT, nodeTimeoutMs: 10_000 };
    const { store, proxies } = await proxied(nodes, options);
    for (const proxy of proxies) proxy.delay(40);

    expect(await failure(claim(store, freshKey(), 50))).toMatchObject({
      code: "LOCK_FAILED",
      message: expect.stringContaining("make leaseMs longer"),
    });
  });

  test("of a broken number of milliseconds is a lease like any other", async () => {
    const { store } = await party(nodes);
    const lease = await acquired(claim(store, freshKey(), 1_234.5));
    expect(await store.extend(lease, 1_234.5)).toBe(true);
  });
});

type Verb = (store: Store, key: string) => Promise<unknown>;

const anyLease = (key: string): Lease => ({
  key,
  token: "token",
  fingerprint: FINGERPRINT,
  validUntil: 0,
});

const VERBS: readonly [name: string, verb: Verb][] = [
  ["lock", (store, key) => claim(store, key)],
  ["extend", (store, key) => store.extend(anyLease(key), LONG_MS)],
  ["set", (store, key) => store.set(anyLease(key), answer(), LONG_MS)],
  ["unlock", (store, key) => store.unlock(anyLease(key))],
  ["get", (store, key) => store.get(key)],
  ["delete", (store, key) => store.delete(key)],
];

describe("a majority", () => {
  test.each(["dead", "hung"])(
    "that is %s: every verb says so in time, again and again, and works by itself once it is back",
    async (state) => {
      const { store, proxies } = await proxied(nodes);
      const majority = proxies.slice(1);
      for (const proxy of majority) {
        if (state === "dead") await proxy.refuse();
        else proxy.hang();
      }

      for (let turn = 0; turn < 3; turn += 1) {
        for (const [, verb] of VERBS) {
          const { value, ms } = await timed(failure(verb(store, freshKey())));
          expect(value).toMatchObject({ name: "StoreUnavailableError" });
          expect(ms).toBeLessThan(NODE_TIMEOUT_MS + SLACK_MS);
        }
      }
      await Promise.all(majority.map((proxy) => proxy.heal()));

      const { ms } = await timed(untilItWorks(() => claim(store, freshKey())));
      expect(ms).toBeLessThan(3_000 + SLACK_MS);
      for (const [, verb] of VERBS) await verb(store, freshKey());
    },
  );

  test("that hung is named as down at once, and looked for at a pace of its own, however many ask", async () => {
    const { store, proxies } = await proxied(nodes, { connect: PATIENT });
    const majority = proxies.slice(1);
    for (const proxy of majority) proxy.hang();
    await failure(claim(store, freshKey()));

    const ASKED = 200;
    for (let turn = 0; turn < ASKED; turn += 1) {
      const { message } = await failure(store.get(freshKey()));
      for (const { port } of majority) {
        expect(message).toContain(`Redis node 127.0.0.1:${port} is known to be down`);
      }
    }

    await Promise.all(majority.map((proxy) => proxy.heal()));
    for (const { traffic } of majority)
      expect(traffic.requests["PING"] ?? 0).toBeLessThan(ASKED / 4);
  });

  test("that hung while nobody asked for anything is used by the first request after its return", async () => {
    const { store, proxies, ready } = await proxied(nodes);
    const majority = proxies.slice(1);
    for (const proxy of majority) proxy.hang();
    await failure(claim(store, freshKey()));
    await Promise.all(majority.map((proxy) => proxy.heal()));
    await ready();

    await sleep(A_WHILE_MS);

    expect(await claim(store, freshKey())).toMatchObject({ state: "acquired" });
  });

  // Nothing but the store's breaker can be as fast afterwards: the connection itself stays open for a minute.
  test.each<[whose: string, timeoutMs: number, options: PartyOptions]>([
    ["the store's", 2_000, { nodeTimeoutMs: 2_000, connect: PATIENT }],
    ["the driver's", 500, { nodeTimeoutMs: 60_000, connect: { ...PATIENT, commandTimeout: 500 } }],
  ])(
    "is enough: a hung minority costs one time-out, %s, then nothing",
    async (_, timeoutMs, options) => {
      const { store, proxies } = await proxied(nodes, options);
      three(proxies)[2].hang();

      const first = await timed(claim(store, freshKey()));
      expect(first.value).toMatchObject({ state: "acquired" });
      expect(first.ms).toBeGreaterThan(timeoutMs * 0.95);
      const { ms } = await timed(
        (async () => {
          // Beyond the first look at whether it is back, for which nobody waits.
          const lookedFor = performance.now() + 400;
          for (let turn = 0; turn < 20 || performance.now() < lookedFor; turn += 1) {
            const mine = await acquired(claim(store, freshKey()));
            expect(await store.extend(mine, LONG_MS)).toBe(true);
            expect(await store.set(mine, answer(), LONG_MS)).toEqual({ state: "stored" });
            await completed(claim(store, mine.key));
            const released = await acquired(claim(store, freshKey()));
            await store.unlock(released);
          }
        })(),
      );

      expect(ms).toBeLessThan(SLACK_MS);
    },
  );

  test("that has answered is not blamed for a pause of the process itself", async () => {
    const { store } = await party(nodes, { connect: PATIENT });
    const claimed = claim(store, freshKey());

    pauseFor(2 * NODE_TIMEOUT_MS);

    const lease = await acquired(claimed);
    expect(await standing(nodes, lease.key)).toEqual(["L", "L", "L"]);
  });

  test("of calls that time out together none delays the node's return", async () => {
    const { store, proxies } = await proxied(nodes, { connect: PATIENT });
    const [, , third] = three(proxies);
    third.hang();
    await Promise.all(Array.from({ length: 50 }, () => claim(store, freshKey())));
    await third.heal();
    third.resetTraffic();

    const { ms } = await timed(
      untilItWorks(async () => {
        await claim(store, freshKey());
        expect(third.traffic.requests["SET"]).toBeGreaterThan(0);
      }),
    );

    expect(ms).toBeLessThan(SLACK_MS);
  });
});

/** As a long collection of garbage does, or a handler that computes. */
function pauseFor(ms: number): void {
  const endsAt = performance.now() + ms;
  while (performance.now() < endsAt);
}

/** Again and again, as clients do. */
async function untilItWorks<T>(operation: () => Promise<T>): Promise<T> {
  return await vi.waitFor(operation, { timeout: 20_000, interval: 20 });
}
