/** A server that comes back without its data is reported, wherever it stands; one that keeps its data is not. */
import type { Cluster, Redis } from "ioredis";
import { Redis as Redis5 } from "ioredis5";
import { expect, onTestFinished, test, vi } from "vitest";
import {
  startCluster,
  startRedis,
  startSentinel,
  type RedisNode,
  type RedisNodeOptions,
} from "../../infra/services/redis.js";
import { deferred } from "../support/deferred.js";
import { connectRedis, ready, redisStore, type RedisNodeReport } from "../../stores/redis.js";
import { comesBackEmpty, connected, eventually } from "./clients.js";

// Failovers take seconds.
vi.setConfig({ testTimeout: 60_000 });

const MARKER = "idempotency:marker {0}";

async function started(options?: RedisNodeOptions): Promise<RedisNode> {
  const node = await startRedis(options);
  onTestFinished(() => node.close());
  return node;
}

/** A store that has been told what its server promises, and notes each loss. */
async function watching(client: Parameters<typeof redisStore>[0], prefix = "idempotency:") {
  const losses: RedisNodeReport[] = [];
  const { promise: examined, resolve } = deferred();
  const onReport = (report: RedisNodeReport): void => {
    if (report.lostAt === undefined) resolve();
    else losses.push(report);
  };
  const store = redisStore(client, { prefix, onReport });
  await examined;
  return { store, losses };
}

test.each<[what: string, options: RedisNodeOptions]>([
  ["that persisted nothing", { persistence: "none" }],
  ["whose disk was replaced", {}],
])("a server %s is reported after its restart, once", async (_, options) => {
  const node = await started(options);
  const { losses } = await watching(await connected(node.url));

  await node.restart({ keepData: false });

  await expect.poll(() => losses).toHaveLength(1);
  expect(losses).toEqual([
    {
      node: `127.0.0.1:${node.port}`,
      level: "forgetful",
      errors: [expect.stringMatching(/^It came back without its data.*executed again/)],
      warnings: [],
      lostAt: expect.any(Date),
    },
  ]);
});

test("clients of ioredis 5 notice it as well, also where they send commands again", async () => {
  const node = await started();
  const client = new Redis5({ port: node.port, host: "127.0.0.1", retryStrategy: () => 5 });
  onTestFinished(() => client.disconnect());
  const { losses } = await watching(client as unknown as Redis);

  await node.restart({ keepData: true });
  await client.ping();
  expect(losses).toEqual([]);
  await node.restart({ keepData: false });

  await expect.poll(() => losses).toHaveLength(1);
});

test("a server with an append-only file is killed and restarted as often as you like", async () => {
  const node = await started();
  const client = await connected(node.url);
  const { losses } = await watching(client);
  const marker = await node.command("GET", MARKER);

  for (let turn = 0; turn < 3; turn += 1) {
    await node.restart({ keepData: true });
    await ready(client);
    await client.ping();
  }

  expect(await node.command("GET", MARKER)).toBe(marker);
  expect(await node.command("TTL", MARKER)).toBe(-1);
  expect(losses).toEqual([]);
});

test("a connection that broke says nothing about the server", async () => {
  const node = await started();
  const client = await connected(node.url);
  const { losses } = await watching(client);

  client.disconnect(true);
  await eventually(async () => (await client.ping()) === "PONG");

  expect(losses).toEqual([]);
});

test("each prefix has a marker of its own", async () => {
  const node = await started();
  const client = await connected(node.url);
  const one = await watching(client, "one:");
  const other = await watching(client, "other:");
  expect(await node.command("DBSIZE")).toBe(2);
  await node.command("DEL", "one:marker {0}");

  client.disconnect(true);

  await expect.poll(() => one.losses).toHaveLength(1);
  expect(other.losses).toEqual([]);
});

test("what another process noticed before this one started is no news", async () => {
  const node = await started();
  const { losses } = await watching(await connected(node.url));
  await node.restart({ keepData: false });
  await expect.poll(() => losses).toHaveLength(1);

  expect((await watching(await connected(node.url))).losses).toEqual([]);
});

test("a marker that another program wrote is no reason to report anything", async () => {
  const node = await started();
  await node.command("SET", MARKER, "anything");

  const { losses } = await watching(await connected(node.url));

  expect(losses).toEqual([]);
  expect(await node.command("GET", MARKER)).toBe("anything");
});

test("Sentinel: a promoted replica has the marker; a master that it lost is reported", async () => {
  const sentinel = await startSentinel();
  onTestFinished(() => sentinel.close());
  const client = await connected(sentinel.url);
  const { losses } = await watching(client);
  const master = await sentinel.master();
  const replica = sentinel.nodes.find((node) => node !== master);
  await eventually(async () => (await replica?.command("GET", MARKER)) !== null);

  await master.kill();
  await eventually(async () => (await sentinel.master()) !== master);
  await eventually(async () => (await client.ping()) === "PONG");
  expect(losses).toEqual([]);

  await replica?.command("FLUSHALL");
  client.disconnect(true);
  await expect.poll(() => losses).toHaveLength(1);
});

test.each([undefined, "app:"])(
  "Redis Cluster, keyPrefix %s: every master has a marker, and one that comes back empty is reported",
  async (keyPrefix) => {
    const cluster = await startCluster();
    onTestFinished(() => cluster.close());
    const client = connectRedis(
      cluster.url,
      keyPrefix ? { cluster: { keyPrefix } } : {},
    ) as Cluster;
    onTestFinished(() => client.disconnect());
    await ready(client);
    const { store, losses } = await watching(client);
    const sizes = await Promise.all(cluster.masters.map((node) => node.command("DBSIZE")));
    expect(sizes).toEqual([1, 1, 1]);
    const [emptied] = cluster.masters;
    const keys = await emptied?.command("KEYS", `${keyPrefix ?? ""}idempotency:marker*`);
    expect(keys).toHaveLength(1);
    const [tag] = /\{\d+\}/.exec(String(keys)) as unknown as [string];

    if (emptied !== undefined) await comesBackEmpty(cluster, emptied);
    // ioredis finds a master again when a key needs it; what is down then is looked at until it is up.
    await store.get(tag).catch(() => {});

    await expect.poll(() => losses).not.toEqual([]);
    expect(losses).toMatchObject([{ node: expect.stringContaining("cluster of") }]);
  },
);

test("Redis Cluster: a replica that takes over has its master's marker", async () => {
  const cluster = await startCluster();
  onTestFinished(() => cluster.close());
  const client = (await connected(cluster.url)) as Cluster;
  const { store, losses } = await watching(client);
  const [failing] = cluster.masters;
  const slot = String(await failing?.command("KEYS", "*"));
  const replicas = cluster.replicas.map((node) => node.command("DBSIZE"));
  await eventually(async () => (await Promise.all(replicas)).every((size) => size === 1));

  await failing?.kill();

  await eventually(async () => (await cluster.masterOf(slot)) !== failing);
  await eventually(async () => (await store.get(slot)) === undefined);
  await eventually(async () => client.nodes("master").every(({ status }) => status === "ready"));
  expect(losses).toEqual([]);
});

test("a process that starts after a loss that nobody saw cannot tell: this is documented", async () => {
  const node = await started();
  const client = await connected(node.url);
  await watching(client);
  client.disconnect();
  await node.restart({ keepData: false });

  expect((await watching(await connected(node.url))).losses).toEqual([]);
});
