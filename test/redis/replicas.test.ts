/** `minReplicas`: what is claimed, stored or replayed has been confirmed by a replica, or the client gets 503. */
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { connect } from "node:net";
import { createInterface } from "node:readline";
import { Redis } from "ioredis";
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from "vitest";
import {
  startCluster,
  startRedis,
  startSentinel,
  type RedisCluster,
  type RedisNode,
} from "../../infra/services/redis.js";
import { idempotency, StoreUnavailableError, type Store } from "../../src/index.js";
import { acquire, answer, complete, FINGERPRINT, LONG_MS } from "../../src/testing/stage.js";
import { redisStore } from "../../stores/redis.js";
import { deferred } from "../support/deferred.js";
import { serve } from "../support/http.js";
import { attached, connected, eventually } from "./clients.js";

/** A healthy replica confirms in time on a slow machine too. */
const PATIENT = { commandTimeout: 5_000, socketTimeout: 5_000 };
const CONFIRMED = { minReplicas: 1, replicaTimeoutMs: 600 };

// For machines that are slow; what hangs is still found.
vi.setConfig({ testTimeout: 30_000, hookTimeout: 60_000 });

/** Who has a key, and its copy. */
interface Pair {
  readonly owner: RedisNode;
  readonly replica: RedisNode;
}

interface Topology {
  readonly url: string;
  readonly nodes: readonly RedisNode[];
  readonly replicas: readonly RedisNode[];
  readonly pairOf: (name: string) => Promise<Pair>;
  readonly close: () => Promise<void>;
}

const STARTERS: Readonly<Record<string, () => Promise<Topology>>> = {
  "a master with a replica": async () => {
    const owner = await startRedis();
    const replica = await startRedis({ config: { replicaof: `127.0.0.1 ${owner.port}` } });
    await attached(owner);
    const nodes = [owner, replica];
    const close = async () => void (await Promise.all(nodes.map((node) => node.close())));
    const pairOf = async () => ({ owner, replica });
    return { url: owner.url, nodes, replicas: [replica], pairOf, close };
  },
  Sentinel: async () => {
    const sentinel = await startSentinel();
    const { url, nodes } = sentinel;
    const [owner, replica] = nodes as [RedisNode, RedisNode];
    await attached(owner);
    const pairOf = async () => ({ owner, replica });
    return { url, nodes, replicas: [replica], pairOf, close: () => sentinel.close() };
  },
  "Redis Cluster": async () => {
    cluster = await startCluster();
    const { url, nodes, masters, replicas } = cluster;
    await Promise.all(masters.map(attached));
    const pairOf = async (name: string): Promise<Pair> => {
      const owner = await cluster.masterOf(name);
      return { owner, replica: replicas[masters.indexOf(owner)] as RedisNode };
    };
    return { url, nodes, replicas, pairOf, close: () => cluster.close() };
  },
};

let cluster: RedisCluster;
const started = new Map<string, Topology>();

beforeAll(async () => {
  const starting = Object.entries(STARTERS).map(async ([name, start]) => {
    started.set(name, await start());
  });
  await Promise.all(starting);
});

afterAll(async () => {
  await Promise.all([...started.values()].map(({ close }) => close()));
});

describe.each(Object.keys(STARTERS))("%s", (name) => {
  async function stage() {
    const topology = started.get(name) as Topology;
    const store = redisStore(await connected(topology.url, PATIENT), CONFIRMED);
    const key = randomUUID();
    const pair = await topology.pairOf(`idempotency:${key}`);
    return { topology, store, key, ...pair };
  }

  test("what is claimed and stored is on the replica when its caller learns of it", async () => {
    const { store, key, owner, replica } = await stage();

    const lease = await acquire(store, key);
    expect(await valueOn(replica, key)).toEqual(await valueOn(owner, key));
    expect(await store.extend(lease, 2 * LONG_MS)).toBe(true);
    await complete(store, lease);

    const value = await valueOn(replica, key);
    expect(value?.toString("latin1", 0, 1)).toBe("R");
    expect(value).toEqual(await valueOn(owner, key));
  });

  test("WAIT goes to the key's own node, over the connection of the write, right behind it", async () => {
    const { topology, store, key, owner } = await stage();
    const others = topology.nodes.filter((node) => node !== owner);
    const waits = () => Promise.all(others.map(waitsOn));
    const before = await waits();
    const seen = await monitored(owner);

    await complete(store, await acquire(store, key));
    // The server may have known the script or not: then there is one more write.
    await eventually(async () => seen.length >= 4 && seen.length % 2 === 0);

    expect(new Set(seen.map(({ source }) => source)).size).toBe(1);
    const commands = seen.map(({ name: command }) => command);
    expect(commands.filter((_, at) => at % 2 === 0)).toEqual(
      expect.arrayContaining(["SET", "EVALSHA"]),
    );
    expect(new Set(commands.filter((_, at) => at % 2 === 1))).toEqual(new Set(["WAIT"]));
    expect(await waits()).toEqual(before);
  });

  test("with the replica stopped, a claim is unavailable and nothing runs; then it is free at once", async () => {
    const { store, key, topology } = await stage();
    const { listener, runs } = counting(store);
    await using server = await serve(listener);
    // All of them: in the store the request's key has another name.
    await Promise.all(topology.replicas.map(stopped));

    await expect(store.lock(key, FINGERPRINT, LONG_MS)).rejects.toThrow(StoreUnavailableError);
    await expect(store.lock(key, FINGERPRINT, LONG_MS)).rejects.toThrow(
      /0 of 1 replicas confirmed/,
    );
    const refused = await server.send({ key: "k" });
    expect(refused.status).toBe(503);
    expect(refused.headers["retry-after"]).toBe("1");
    expect(runs()).toBe(0);
    for (const replica of topology.replicas) replica.resume();

    await eventually(
      async () => (await store.lock(key, FINGERPRINT, LONG_MS)).state === "acquired",
    );
    await eventually(async () => (await server.send({ key: "k" })).status === 201);
    expect(runs()).toBe(1);
  });

  test("with the replica stopped, what ran is answered 503 and never run again, and replayed when it is back", async () => {
    const { store, topology, key } = await stage();
    const [running, gate] = [deferred(), deferred()];
    const { listener, runs } = counting(store, async () => {
      running.resolve();
      await gate.promise;
    });
    await using server = await serve(listener);
    const first = server.send({ key });
    await running.promise;

    await Promise.all(topology.replicas.map(stopped));
    gate.resolve();
    expect(await first).toMatchObject({ status: 503 });
    for (let attempt = 0; attempt < 3; attempt += 1) {
      expect([409, 503]).toContain((await server.send({ key })).status);
    }
    for (const replica of topology.replicas) replica.resume();

    await eventually(async () => (await server.send({ key })).status === 201);
    expect(await server.send({ key })).toMatchObject({ text: "run 1" });
    expect(runs()).toBe(1);
  });

  test("with the replica stopped, what is held is still released", async () => {
    const { store, key, owner, replica } = await stage();
    const lease = await acquire(store, key);
    await stopped(replica);

    await store.unlock(lease);

    expect(await valueOn(owner, key)).toBeNull();
  });

  test("a record that no replica has confirmed is not replayed", async () => {
    const { store, key, replica } = await stage();
    const lease = await acquire(store, key);
    await stopped(replica);

    await expect(store.set(lease, answer(), LONG_MS)).rejects.toThrow(/0 of 1 replicas/);

    await expect(store.lock(key, FINGERPRINT, LONG_MS)).rejects.toThrow(StoreUnavailableError);
    // For operators, what is there is what the master has.
    expect(await store.get(key)).toBeDefined();
    replica.resume();
    await eventually(
      async () => (await store.lock(key, FINGERPRINT, LONG_MS)).state === "completed",
    );
  });
});

test("Redis Cluster: confirmed writes follow a slot to its new master", async () => {
  const store = redisStore(await connected(cluster.url, PATIENT), CONFIRMED);
  const key = randomUUID();
  const name = `idempotency:${key}`;
  const lease = await acquire(store, key);
  const owner = await cluster.masterOf(name);
  const replica = cluster.replicas[cluster.masters.indexOf(owner)] as RedisNode;

  await replica.command("CLUSTER", "FAILOVER");
  await eventually(async () => (await cluster.masterOf(name)) === replica);

  await eventually(() => store.extend(lease, LONG_MS));
  expect(await store.set(lease, answer(), LONG_MS)).toEqual({ state: "stored" });
  expect(await valueOn(owner, key)).toEqual(await valueOn(replica, key));
});

async function stopped(node: RedisNode): Promise<void> {
  await node.stop();
  onTestFinished(() => node.resume());
}

/** Also on a replica, and there of a Cluster. */
async function valueOn({ port }: RedisNode, key: string): Promise<Buffer | null> {
  const client = new Redis({ port, host: "127.0.0.1", readOnly: true });
  try {
    return await client.getBuffer(`idempotency:${key}`);
  } finally {
    client.disconnect();
  }
}

async function waitsOn(node: RedisNode): Promise<string> {
  const stats = String(await node.command("INFO", "commandstats"));
  return /cmdstat_wait:calls=(\d+)/.exec(stats)?.[1] ?? "0";
}

/** The store's commands that arrive at a node from now on, and from where. By hand: ioredis 6 mixes up what comes first. */
async function monitored(node: RedisNode): Promise<{ name: string; source: string }[]> {
  const socket = connect(node.port, "127.0.0.1");
  onTestFinished(() => void socket.destroy());
  const seen: { name: string; source: string }[] = [];
  const lines = createInterface({ input: socket });
  const listening = once(lines, "line");
  lines.on("line", (line) => {
    const [, source = "", name = ""] = / \[\d+ (\S+)\] "(\w+)"/.exec(line) ?? [];
    const command = name.toUpperCase();
    if (!["SET", "EVALSHA", "EVAL", "WAIT"].includes(command) || source === "lua") return;
    seen.push({ name: command, source });
  });
  socket.write("MONITOR\r\n");
  await listening;
  return seen;
}

function counting(store: Store, before?: () => Promise<void>) {
  const safe = idempotency(store, { leaseMs: 3_000, onError: () => undefined });
  let runs = 0;
  const listener = safe.wrap(async (_, res) => {
    runs += 1;
    await before?.();
    res.writeHead(201).end(`run ${runs}`);
  });
  return { listener, runs: () => runs };
}
