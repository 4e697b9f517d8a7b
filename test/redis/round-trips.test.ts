/** What a request costs, counted on the wire: commands, and times that somebody waits for the network. */
import { randomBytes, randomUUID } from "node:crypto";
import type { Redis } from "ioredis";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { startRedis, type RedisNode } from "../../infra/services/redis.js";
import { idempotency, type Lease, type Store } from "../../src/index.js";
import { storageKey } from "../../src/key.js";
import { acquire, answer, complete, FINGERPRINT, LONG_MS } from "../../src/testing/stage.js";
import { redisStore, type RedisOptions } from "../../stores/redis.js";
import { deferred } from "../support/deferred.js";
import type { FaultProxy } from "../support/fault-proxy.js";
import { serve } from "../support/http.js";
import { attached, connected, proxyTo } from "./clients.js";

// For machines that are slow; what hangs is still found.
vi.setConfig({ testTimeout: 30_000 });

let node: RedisNode;

beforeAll(async () => {
  node = await startRedis();
});
afterAll(() => node.close());

interface Counted {
  readonly store: Store;
  readonly proxy: FaultProxy;
  /** What was sent since the last time, by command. */
  readonly sent: () => { readonly roundTrips: number; readonly commands: Record<string, number> };
}

/** A store whose commands are counted, on a server that knows no script. */
async function counted(options?: RedisOptions): Promise<Counted> {
  await node.command("FLUSHALL");
  await node.command("SCRIPT", "FLUSH");
  const proxy = await proxyTo(node.port);
  // What is counted here must not depend on how fast it is.
  const client = await connected(proxy.port, { commandTimeout: 10_000, socketTimeout: 10_000 });
  const store = redisStore(client, { replicaTimeoutMs: 5_000, ...options });
  proxy.resetTraffic();
  return {
    store,
    proxy,
    sent: () => {
      const { roundTrips, requests: commands } = proxy.traffic;
      proxy.resetTraffic();
      return { roundTrips, commands };
    },
  };
}

/** Every script used once, so that the server knows them. */
async function warm(store: Store): Promise<void> {
  const lease = await acquire(store, "warm");
  await store.extend(lease, LONG_MS);
  await complete(store, lease);
  await store.unlock(lease);
}

const ONE_SET = { roundTrips: 1, commands: { SET: 1 } };
const ONE_SCRIPT = { roundTrips: 1, commands: { EVALSHA: 1 } };
const UNKNOWN_SCRIPT = { roundTrips: 2, commands: { EVALSHA: 1, EVAL: 1 } };

test("a fresh request is two commands in two round trips; its replay, its renewal and its release are one each", async () => {
  const { store, sent } = await counted();
  await warm(store);
  sent();

  const lease = await acquire(store, "k");
  expect(sent()).toEqual(ONE_SET);
  expect(await store.extend(lease, LONG_MS)).toBe(true);
  expect(sent()).toEqual(ONE_SCRIPT);
  const response = await complete(store, lease);
  expect(sent()).toEqual(ONE_SCRIPT);
  expect(await store.lock("k", FINGERPRINT, LONG_MS)).toMatchObject({
    state: "completed",
    response,
  });
  expect(sent()).toEqual(ONE_SET);
  await store.unlock(await acquire(store, "other"));
  expect(sent()).toEqual({ roundTrips: 2, commands: { SET: 1, EVALSHA: 1 } });
  await store.get("k");
  await store.delete("k");
  expect(sent()).toEqual({ roundTrips: 2, commands: { GET: 1, DEL: 1 } });
});

test("whoever does not get the key learns so in one round trip, and a late holder learns of the winner", async () => {
  const { store, sent } = await counted();
  await warm(store);
  const lease = await acquire(store, "k");
  sent();

  expect(await store.lock("k", "another", LONG_MS)).toMatchObject({ fingerprint: FINGERPRINT });
  expect(sent()).toEqual(ONE_SET);
  await node.command("PEXPIRE", "idempotency:k", "0");
  const winner = await complete(store, await acquire(store, "k"));
  sent();
  expect(await store.set(lease, answer(), LONG_MS)).toEqual({ state: "lost", winner });
  expect(sent()).toEqual(ONE_SCRIPT);
});

test.each<[verb: string, use: (store: Store, lease: Lease) => Promise<unknown>]>([
  ["extend", (store, lease) => store.extend(lease, LONG_MS)],
  ["set", (store, lease) => store.set(lease, answer(), LONG_MS)],
  ["unlock", (store, lease) => store.unlock(lease)],
])(
  "the first %s on a server costs a second round trip, also after SCRIPT FLUSH, but never a third",
  async (_, use) => {
    const { store, sent } = await counted();

    for (const key of ["first", "flushed"]) {
      await node.command("SCRIPT", "FLUSH");
      const leases = [await acquire(store, key), await acquire(store, `${key}-2`)] as const;
      sent();
      await use(store, leases[0]);
      expect(sent()).toEqual(UNKNOWN_SCRIPT);
      await use(store, leases[1]);
      expect(sent()).toEqual(ONE_SCRIPT);
    }
  },
);

test("waiting for replicas costs commands, but no round trip", async () => {
  const replica = await startRedis({ config: { replicaof: `127.0.0.1 ${node.port}` } });
  try {
    await attached(node);
    const { store, sent } = await counted({ minReplicas: 1 });
    await warm(store);
    sent();

    const lease = await acquire(store, "k");
    expect(sent()).toEqual({ roundTrips: 1, commands: { SET: 1, WAIT: 1 } });
    await store.extend(lease, LONG_MS);
    await complete(store, lease);
    expect(sent()).toEqual({ roundTrips: 2, commands: { EVALSHA: 2, WAIT: 2 } });
  } finally {
    await replica.close();
  }
});

test("over http: two round trips for a request, one for its replay, for a 409 and for a 422", async () => {
  const { store, sent, proxy } = await counted();
  await warm(store);
  sent();
  const gate = deferred();
  const safe = idempotency(store, { onError: () => undefined });
  await using server = await serve(
    safe.wrap(async (_, res) => {
      await gate.promise;
      res.writeHead(201).end("made");
    }),
  );

  const first = server.send({ key: "k" });
  await proxy.until(() => proxy.traffic.replies["SET"] === 1);
  sent();
  expect(await server.send({ key: "k" })).toMatchObject({ status: 409 });
  expect(sent()).toEqual(ONE_SET);
  expect(await server.send({ key: "k", body: "another" })).toMatchObject({ status: 422 });
  expect(sent()).toEqual(ONE_SET);
  gate.resolve();
  expect(await first).toMatchObject({ status: 201, text: "made" });
  expect(sent()).toEqual(ONE_SCRIPT);
  const replay = await server.send({ key: "k" });
  expect(replay).toMatchObject({ status: 201, text: "made" });
  expect(replay.headers["idempotency-replayed"]).toBe("true");
  expect(sent()).toEqual(ONE_SET);
});

test("claims of one turn of the event loop leave in one write when it is over; a lot of them before", async () => {
  const client = await connected(node.port, { commandTimeout: 10_000, socketTimeout: 10_000 });
  const store = redisStore(client);
  const { stream } = client as Redis;
  const before = stream.bytesWritten;
  const unsent = () => stream.bytesWritten - before - stream.writableLength === 0;
  const lock = (name: string) => store.lock(`gathered-${name}`, FINGERPRINT, LONG_MS);

  const few = [lock("1"), lock("2")];
  expect(unsent()).toBe(true);
  await Promise.all(few);
  expect(stream.writableCorked).toBe(0);

  const many = Array.from({ length: 200 }, (_, at) => lock(`many-${at}`));
  expect(stream.writableLength).toBeLessThan(8 * 1_024);
  await Promise.all(many);
});

test("C5, C9: a claim and then its record are one key, which has an end", async () => {
  const { store } = await counted();
  const standing = async () => {
    const names = (await node.command("KEYS", "*")) as string[];
    return names.filter((name) => !name.includes("marker"));
  };
  const endsInMs = async () => Number(await node.command("PTTL", "idempotency:k"));

  const lease = await acquire(store, "k", LONG_MS);
  expect(await standing()).toEqual(["idempotency:k"]);
  expect(await endsInMs()).toBeGreaterThan(0);
  expect(await endsInMs()).toBeLessThanOrEqual(LONG_MS);

  await complete(store, lease, answer(), 2 * LONG_MS);
  expect(await standing()).toEqual(["idempotency:k"]);
  expect(await endsInMs()).toBeGreaterThan(LONG_MS);
  expect(await endsInMs()).toBeLessThanOrEqual(2 * LONG_MS);
});

test("a record takes its response and a few hundred bytes of the server's memory", async () => {
  const store = redisStore(await connected(node.port), { onReport: () => {} });
  const key = storageKey(randomUUID());
  const response = answer({ body: randomBytes(1_024), headers: [] });
  await store.set(await acquire(store, key, LONG_MS, storageKey("fingerprint")), response, LONG_MS);

  const bytes = Number(await node.command("MEMORY", "USAGE", `idempotency:${key}`));

  expect(bytes).toBeGreaterThan(1_024);
  expect(bytes).toBeLessThan(1_024 + 500);
});
