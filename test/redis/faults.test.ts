/** What networks and servers do to one endpoint: replies lost, packets late or twice, servers down, hung and back. */
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { connect } from "node:net";
import type { Cluster, Redis } from "ioredis";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { startRedis, type RedisNode } from "../../infra/services/redis.js";
import { idempotency, StoreUnavailableError, type Lease, type Store } from "../../src/index.js";
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
import { ready, redisStore } from "../../stores/redis.js";
import { deferred } from "../support/deferred.js";
import { listen } from "../support/events.js";
import type { FaultProxy } from "../support/fault-proxy.js";
import { serve } from "../support/http.js";
import { commandName } from "../support/resp.js";
import { connected, eventually, marked, named, proxyTo, resending } from "./clients.js";

// For machines that are slow; what hangs is still found.
vi.setConfig({ testTimeout: 30_000 });

let node: RedisNode;

beforeAll(async () => {
  node = await startRedis();
  await marked(node);
});
afterAll(() => node.close());

/** A store whose connection a test can break. */
async function fragile() {
  const proxy = await proxyTo(node.port);
  const client = await connected(proxy.port);
  return { proxy, client, store: redisStore(client) };
}

/** A store that nothing happens to. */
async function sound(): Promise<Store> {
  return redisStore(await connected(node.port));
}

/** The value, and when it ends to the millisecond. */
function stateOf(key: string): Promise<unknown[]> {
  const name = `idempotency:${key}`;
  return Promise.all([node.command("GET", name), node.command("PEXPIRETIME", name)]);
}

/** The end of a lease, as the server makes it. */
async function endLease(key: string): Promise<void> {
  expect(await node.command("PEXPIRE", `idempotency:${key}`, "0")).toBe(1);
}

type Use = (store: Store, lease: Lease) => Promise<unknown>;

const SHORTER_MS = LONG_MS / 2;
const RESPONSE = answer();
const VERBS = {
  extend: (store, lease) => store.extend(lease, LONG_MS),
  set: (store, lease) => store.set(lease, RESPONSE, LONG_MS),
  unlock: (store, lease) => store.unlock(lease),
} satisfies Record<string, Use>;
const LEASE_VERBS: readonly (readonly [verb: string, use: Use, again: unknown])[] = [
  ["extend", VERBS.extend, true],
  ["set", VERBS.set, { state: "stored" }],
  ["unlock", VERBS.unlock, undefined],
];

describe("a reply is lost", () => {
  test("C3: of a lock that ioredis sends again: it is granted, and no conflict with itself", async () => {
    const proxy = await proxyTo(node.port);
    const store = redisStore(await resending(proxy.port));
    const cut = proxy.cutAfterRequest(named("SET"));
    const key = randomUUID();

    const lease = await acquire(store, key);

    await cut;
    expect(proxy.traffic.requests["SET"]).toBe(2);
    await expectHeld(await sound(), key);
    await expectCompleted(await sound(), key, await complete(store, lease));
  });

  test("of a lock that is not sent again: unavailable, and the key is free at the latest after the lease", async () => {
    const { proxy, store } = await fragile();
    const key = randomUUID();
    const cut = proxy.cutAfterRequest(named("SET"));

    await expect(store.lock(key, FINGERPRINT, 300)).rejects.toThrow(StoreUnavailableError);

    await cut;
    const other = await sound();
    await eventually(
      async () => (await other.lock(key, FINGERPRINT, LONG_MS)).state === "acquired",
    );
  });

  test("of a lock by a slow server: unavailable, and the key is given back behind it", async () => {
    const { proxy, store } = await fragile();
    const key = randomUUID();
    await warm(store);
    proxy.resetTraffic();
    proxy.dropReplies();

    await expect(store.lock(key, FINGERPRINT, LONG_MS)).rejects.toThrow(/timed out/);

    await proxy.until(() => (proxy.traffic.replies["EVALSHA"] ?? 0) > 0);
    await expectFree(await sound(), key);
  });

  test.each(LEASE_VERBS)(
    "of %s: unavailable; it took effect, and its repetition says so",
    async (_, use, again) => {
      expect(await repeatedAfterLoss(use)).toMatchObject({ again });
    },
  );

  test("of set: the repetition does not write the record again, nor let it live longer", async () => {
    const { key, store, before, after } = await repeatedAfterLoss(VERBS.set);
    expect(after).toEqual(before);
    await expectCompleted(store, key, RESPONSE);
  });

  test("of extend: the lease lasts as long as was asked, from then on", async () => {
    const { before, after } = await repeatedAfterLoss(VERBS.extend);
    expect(Number(before[1])).toBeGreaterThan(Date.now() + SHORTER_MS);
    expect(after[0]).toBe(before[0]);
  });

  test("of unlock: the key is empty", async () => {
    const { before, after } = await repeatedAfterLoss(VERBS.unlock);
    expect([before, after]).toEqual([
      [null, -2],
      [null, -2],
    ]);
  });

  async function repeatedAfterLoss(use: Use) {
    const { proxy, client, store } = await fragile();
    const key = randomUUID();
    await warm(store);
    const lease = await acquire(store, key, SHORTER_MS);
    const cut = proxy.cutAfterRequest(named("EVALSHA"));

    await expect(use(store, lease)).rejects.toThrow(StoreUnavailableError);

    await cut;
    await ready(client);
    const before = await stateOf(key);
    const again = await use(store, lease);
    return { key, store, before, again, after: await stateOf(key) };
  }

  test("of set, over http: 503, then the response is found stored, and retries replay it", async () => {
    using events = listen();
    const { proxy, store } = await fragile();
    await warm(store);
    const { listener, runs } = counting(store);
    await using server = await serve(listener);
    const key = randomUUID();
    const cut = proxy.cutAfterRequest(named("EVALSHA"));
    const settled = events.next("response-settled");

    const first = await server.send({ key });

    expect(first.status).toBe(503);
    expect(first.headers["retry-after"]).toBe("1");
    await cut;
    expect(await settled).toMatchObject({ state: "stored" });
    expect(await server.send({ key })).toMatchObject({ status: 201, text: "run 1" });
    expect(runs()).toBe(1);
  });
});

describe("a command arrives twice", () => {
  test("at once or when all is over: it changes nothing", async () => {
    const { proxy, store } = await fragile();
    await warm(store);
    const commands = tap(proxy);
    const [key, released] = [randomUUID(), randomUUID()];

    const lease = await acquire(store, key);
    const held = await stateOf(key);
    await deliver(commands.splice(0));
    expect(await stateOf(key)).toEqual(held);

    await store.extend(lease, LONG_MS);
    await deliver(commands);
    await expectHeld(await sound(), key);
    await complete(store, lease);
    const completed = await stateOf(key);
    await deliver(commands);
    expect(await stateOf(key)).toEqual(completed);

    const other = await acquire(store, released);
    commands.length = 0;
    await store.unlock(other);
    await deliver(commands);
    await expectFree(await sound(), released);
  });

  /** Everything that the store sends from now on. */
  function tap(proxy: FaultProxy): Buffer[] {
    const commands: Buffer[] = [];
    void proxy.cutAfterRequest((bytes) => {
      if (["SET", "EVALSHA"].includes(commandName(bytes))) commands.push(Buffer.from(bytes));
      return false;
    });
    return commands;
  }

  async function deliver(commands: readonly Buffer[]): Promise<void> {
    expect(commands.length).toBeGreaterThan(0);
    const socket = connect(node.port, "127.0.0.1");
    const closed = once(socket, "close");
    socket.end(Buffer.concat(commands)).resume();
    await closed;
  }
});

describe("a packet of a dead attempt arrives after its lease ran out and another owner came", () => {
  const verbs: readonly (readonly [string, Use])[] = [
    ["lock", (store, { key }) => store.lock(key, "fingerprint-of-the-dead", LONG_MS)],
    ...LEASE_VERBS.map(([verb, use]) => [verb, use] as const),
  ];
  const successors = [
    ["holds the key", async () => {}],
    ["has completed it", async (store: Store, lease: Lease) => void (await complete(store, lease))],
  ] as const;

  const pairs = verbs.flatMap(([verb, use]) =>
    successors.map(([what, finish]) => [verb, what, use, finish] as const),
  );

  test.each(pairs)("%s changes nothing where the owner %s", async (_verb, _what, use, finish) => {
    const { proxy, client, store } = await fragile();
    await warm(store);
    const key = randomUUID();
    const lease = await acquire(store, key);

    proxy.hold();
    const lost = use(store, lease);
    await proxy.until(() => proxy.held >= 1);
    client.disconnect();
    await expect(lost).rejects.toThrow(StoreUnavailableError);
    await endLease(key);
    const other = await sound();
    const successor = await acquire(other, key);
    await finish(other, successor);
    const before = await stateOf(key);
    await proxy.release();

    expect(await stateOf(key)).toEqual(before);
  });
});

describe.each<[string, (proxy: FaultProxy) => Fault]>([
  [
    "dies and is restarted",
    () => ({ begin: () => node.kill(), end: () => node.restart({ keepData: true }) }),
  ],
  ["is stopped and resumed", () => ({ begin: () => node.stop(), end: async () => node.resume() })],
  ["refuses connections", (proxy) => ({ begin: () => proxy.refuse(), end: () => proxy.heal() })],
  ["hangs", (proxy) => ({ begin: async () => proxy.hang(), end: () => proxy.heal() })],
])("a server that %s", (_, faultOf) => {
  test("fails every verb within the client's limits, and is used again when it is back", async () => {
    const { proxy, client, store } = await fragile();
    const fault = faultOf(proxy);
    const keys = { extended: randomUUID(), completed: randomUUID(), unlocked: randomUUID() };
    const leases = await Promise.all(Object.values(keys).map((key) => acquire(store, key)));

    await fault.begin();
    // The first round finds out, the second one knows.
    for (let round = 0; round < 2; round += 1) await allFail(store, leases as Leases, client);
    await fault.end();

    const [extended, completed, unlocked] = leases as Leases;
    await eventually(() => store.extend(extended, LONG_MS));
    expect(await store.set(completed, RESPONSE, LONG_MS)).toEqual({ state: "stored" });
    await expectCompleted(store, keys.completed, RESPONSE);
    await store.unlock(unlocked);
    await expectFree(store, keys.unlocked);
  });
});

interface Fault {
  begin(): Promise<void>;
  end(): Promise<void>;
}

type Leases = [extended: Lease, completed: Lease, unlocked: Lease];

async function allFail(
  store: Store,
  [extended, completed, unlocked]: Leases,
  client: Redis | Cluster,
): Promise<void> {
  const { commandTimeout = 0 } = client.options as { commandTimeout?: number };
  expect(commandTimeout).toBeGreaterThan(0);
  const started = performance.now();
  const outcomes = await Promise.allSettled([
    store.get(extended.key),
    store.lock(randomUUID(), FINGERPRINT, LONG_MS),
    store.extend(extended, LONG_MS),
    store.set(completed, RESPONSE, LONG_MS),
    store.unlock(unlocked),
    store.delete(randomUUID()),
  ]);
  // A busy machine may fire timers late.
  expect(performance.now() - started).toBeLessThan(commandTimeout + 1_000);
  for (const outcome of outcomes) {
    expect(outcome).toMatchObject({ status: "rejected", reason: { code: "STORE_UNAVAILABLE" } });
  }
}

describe("over http, while the server is down", () => {
  test("requests get 503 and do not run; once it is back, the retry runs, once", async () => {
    const { store } = await fragile();
    const { listener, runs } = counting(store);
    await using server = await serve(listener);
    const key = randomUUID();

    await node.kill();
    const refused = await server.send({ key });
    expect(refused.status).toBe(503);
    expect(refused.headers["retry-after"]).toBe("1");
    expect(JSON.parse(refused.text)).toMatchObject({ code: "STORE_UNAVAILABLE" });
    expect(refused.text).not.toContain("127.0.0.1");
    expect(runs()).toBe(0);
    await node.restart({ keepData: true });

    await eventually(async () => {
      const retry = await server.send({ key });
      expect([201, 503]).toContain(retry.status);
      return retry.status === 201;
    });
    expect(await server.send({ key })).toMatchObject({ status: 201, text: "run 1" });
    expect(runs()).toBe(1);
  });

  test("a request that was running gets 503, its response is kept, and the retry replays it", async () => {
    using events = listen();
    const { store } = await fragile();
    const [started, gate] = [deferred(), deferred()];
    const { listener, runs } = counting(store, async () => {
      started.resolve();
      await gate.promise;
    });
    await using server = await serve(listener);
    const key = randomUUID();
    const first = server.send({ key });
    await started.promise;

    await node.kill();
    gate.resolve();
    expect(await first).toMatchObject({ status: 503 });
    const settled = events.next("response-settled");
    await node.restart({ keepData: true });

    expect(await settled).toMatchObject({ state: "stored" });
    expect(await server.send({ key })).toMatchObject({ status: 201, text: "run 1" });
    expect(runs()).toBe(1);
  });
});

test("what is stored where the lease has gone is stored, and says so", async () => {
  const { store } = await fragile();
  const lease = await acquire(store, randomUUID());
  await store.delete(lease.key);

  const stored = { state: "stored", lapsed: true };
  expect(await store.set(lease, RESPONSE, LONG_MS)).toEqual(stored);
  await expectCompleted(store, lease.key, RESPONSE);
});

test("a server restarted with its data keeps leases and records", async () => {
  const { store, client } = await fragile();
  const [held, completed] = [randomUUID(), randomUUID()];
  const lease = await acquire(store, held);
  const response = await complete(store, await acquire(store, completed));

  await node.restart({ keepData: true });
  await ready(client);

  await expectHeld(store, held);
  await expectCompleted(store, completed, response);
  expect(await store.extend(lease, LONG_MS)).toBe(true);
});

test("a server restarted empty forgets, and what it forgot is executed again: this is documented", async () => {
  const { store, client } = await fragile();
  const { listener, runs } = counting(store);
  await using server = await serve(listener);
  const key = randomUUID();
  expect(await server.send({ key })).toMatchObject({ text: "run 1" });

  await node.restart({ keepData: false });
  await ready(client);

  expect(await server.send({ key })).toMatchObject({ text: "run 2" });
  expect(runs()).toBe(2);
});

/** A handler that counts its runs, with a lease so short that what is held back is soon offered again. */
function counting(store: Store, before?: () => Promise<void>) {
  const safe = idempotency(store, { leaseMs: 1_200, onError: () => undefined });
  let runs = 0;
  const listener = safe.wrap(async (_, res) => {
    runs += 1;
    await before?.();
    res.writeHead(201).end(`run ${runs}`);
  });
  return { listener, runs: () => runs };
}

/** Every script used once, so that the server knows them and each verb is one command. */
async function warm(store: Store): Promise<void> {
  const lease = await acquire(store, randomUUID());
  await store.extend(lease, LONG_MS);
  await complete(store, lease);
  await store.unlock(lease);
}
