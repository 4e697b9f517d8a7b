/** The store contract on every topology that one endpoint can have, and random walks on a single server. */
import { randomUUID } from "node:crypto";
import * as fc from "fast-check";
import { Cluster, Redis } from "ioredis";
import { Cluster as Cluster5, Redis as Redis5 } from "ioredis5";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import {
  startCluster,
  startRedis,
  startSentinel,
  type RedisCluster,
  type RedisNode,
  type RedisSentinel,
} from "../../infra/services/redis.js";
import { storeContract } from "../../src/testing.js";
import { redisStore, type RedisOptions } from "../../stores/redis.js";
import { storeWalks, walk } from "../contract/store-model.js";

// Most tests wait for a lease to end. The time limits are for slow machines; what hangs is still found.
vi.setConfig({ maxConcurrency: 24, testTimeout: 60_000, hookTimeout: 60_000 });

let single: RedisNode;
let cluster: RedisCluster;
let sentinel: RedisSentinel;
const clients: { disconnect(): void }[] = [];

beforeAll(async () => {
  [single, cluster, sentinel] = await Promise.all([startRedis(), startCluster(), startSentinel()]);
});

afterAll(async () => {
  for (const client of clients) client.disconnect();
  await Promise.all([single, cluster, sentinel].map((service) => service?.close()));
});

const clusterNodes = () => cluster.nodes.map(({ port }) => ({ host: "127.0.0.1", port }));

const ofSentinel = () => ({
  name: sentinel.name,
  sentinels: sentinel.sentinels.map(({ port }) => ({ host: "127.0.0.1", port })),
});

/** Clients as users may bring them. Two major versions of ioredis have the same methods under two sets of types. */
const CLIENTS: Readonly<Record<string, () => unknown>> = {
  "a single server": () => new Redis(single.port),
  "a single server, ioredis 5": () => new Redis5(single.port),
  "a single server, keyPrefix": () => new Redis(single.port, { keyPrefix: "app:" }),
  "a single server, auto-pipelining": () => new Redis(single.port, { enableAutoPipelining: true }),
  "a single server, ioredis 5, auto-pipelining, keyPrefix": () =>
    new Redis5(single.port, { enableAutoPipelining: true, keyPrefix: "app:" }),
  "a single server, numbers as strings": () => new Redis(single.port, { stringNumbers: true }),
  "Redis Cluster": () => new Cluster(clusterNodes()),
  "Redis Cluster, auto-pipelining, keyPrefix": () =>
    new Cluster(clusterNodes(), { enableAutoPipelining: true, keyPrefix: "app:" }),
  "Redis Cluster, ioredis 5, auto-pipelining": () =>
    new Cluster5(clusterNodes(), { enableAutoPipelining: true }),
  Sentinel: () => new Redis(ofSentinel()),
};

/** Where there are replicas, the same must hold when writes wait for them. */
const REPLICATED: Readonly<Record<string, () => unknown>> = {
  "Redis Cluster, minReplicas 1": () => new Cluster(clusterNodes()),
  "Redis Cluster, auto-pipelining, minReplicas 1": () =>
    new Cluster(clusterNodes(), { enableAutoPipelining: true }),
  "Sentinel, ioredis 5, minReplicas 1": () => new Redis5(ofSentinel()),
};

contractsOn(CLIENTS);
contractsOn(REPLICATED, { minReplicas: 1, replicaTimeoutMs: 5_000 });

function contractsOn(makers: typeof CLIENTS, options: RedisOptions = {}): void {
  for (const [name, makeClient] of Object.entries(makers)) {
    let client: Redis | undefined;
    const theClient = (): Redis => {
      if (client === undefined) clients.push((client = makeClient() as Redis));
      return client;
    };
    storeContract(name, () => ({ store: redisStore(theClient(), options) }), {
      describe: describe.concurrent,
      it: it.concurrent,
    });
  }
}

describe("random walks on a single server", () => {
  // Far more than a walk really takes, so that what expires in it is what the walk lets expire, and all else stands.
  const UNIT_MS = 60_000;
  const steps = storeWalks({
    keys: ["a", "b", "c"],
    durationsMs: [UNIT_MS, 2 * UNIT_MS, 3 * UNIT_MS, 5 * UNIT_MS],
  });

  it("C6: every sequence of verbs by holders fresh and stale goes as in the model", async () => {
    const client = new Redis(single.port);
    clients.push(client);
    let walked = 0;
    await fc.assert(
      fc.asyncProperty(steps, async (sequence) => {
        const prefix = `walk-${randomUUID()}:`;
        const store = redisStore(client, { prefix });
        await walk(sequence, store, (ms) => elapse(client, prefix, ms));
        walked += 1;
      }),
      { numRuns: 150 },
    );
    expect(walked).toBe(150);
  });

  /** Takes this much off the life of every key, instead of waiting for it. */
  async function elapse(client: Redis, prefix: string, ms: number): Promise<void> {
    await client.eval(
      `for _, key in ipairs(redis.call('KEYS', ARGV[1])) do
         redis.call('PEXPIRE', key, math.max(redis.call('PTTL', key) - ARGV[2], 0))
       end`,
      0,
      `${prefix}*`,
      ms,
    );
  }
});
