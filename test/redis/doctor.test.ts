/** What the doctor reads off real servers, and what it concludes. */
import { Redis } from "ioredis";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import {
  startCluster,
  startRedis,
  startSentinel,
  type RedisNodeOptions,
} from "../../infra/services/redis.js";
import { connectRedis } from "../../stores/redis/connect.js";
import { redisStore } from "../../stores/redis.js";
import { examineRedis, judge, type RedisReport } from "../../stores/redis/doctor.js";

async function examined(
  starting: Promise<{ readonly url: string; close(): Promise<void> }>,
): Promise<RedisReport> {
  const service = await starting;
  const client = connectRedis(service.url);
  try {
    return await examineRedis(client);
  } finally {
    client.disconnect();
    await service.close();
  }
}

const CASES: readonly [says: string, RedisNodeOptions, RedisReport["level"], RegExp[]][] = [
  ["a synced append-only file is power-safe", { persistence: "always" }, "power-safe", []],
  ["syncing every second is crash-safe", {}, "crash-safe", [/^appendfsync everysec: up to 2 s/]],
  ["never syncing is too", { config: { appendfsync: "no" } }, "crash-safe", [/^appendfsync no/]],
  ["no persistence is forgetful", { persistence: "none" }, "forgetful", [/^appendonly is off/]],
  [
    "eviction is forgetful, whatever reaches the disk",
    { persistence: "always", config: { "maxmemory-policy": "volatile-lru" } },
    "forgetful",
    [/^maxmemory-policy evicts/],
  ],
  [
    "a server that refuses CONFIG and INFO is not known",
    { config: { user: "default on nopass ~* &* +@all -config -info" } },
    "unknown",
    [/^CONFIG GET was refused/, /^INFO was refused/],
  ],
  [
    "eviction shows in INFO where CONFIG is refused",
    { config: { "rename-command": 'CONFIG ""', "maxmemory-policy": "allkeys-lru" } },
    "forgetful",
    [/^maxmemory-policy evicts/, /^CONFIG GET was refused/],
  ],
];

test.each(CASES)("%s", async (_, options, level, warnings) => {
  // ioredis prints that INFO is refused.
  const warn = vi.spyOn(console, "warn").mockImplementation(() => undefined);
  onTestFinished(() => warn.mockRestore());

  const report = await examined(startRedis(options));

  expect(report).toEqual({
    level,
    errors: [],
    warnings: warnings.map((warning) => expect.stringMatching(warning)),
  });
});

test("replicas make it failover-lossy, and a replica itself takes no writes", async () => {
  const sentinel = await startSentinel({ persistence: "always" });
  onTestFinished(() => sentinel.close());
  const [master, replica] = sentinel.nodes.map(({ url }) => connectRedis(url));
  onTestFinished(() => void [master, replica].map((client) => client?.disconnect()));

  expect(master && (await examineRedis(master))).toEqual({
    level: "failover-lossy",
    errors: [],
    warnings: [expect.stringContaining("minReplicas")],
  });
  expect(replica && (await examineRedis(replica)).errors).toEqual([
    expect.stringContaining("This is a replica"),
  ]);
});

test("every master of a Cluster is asked, and the report names those that it is about", async () => {
  const cluster = await startCluster({ persistence: "always" });
  onTestFinished(() => cluster.close());
  const [odd] = cluster.masters;
  await odd?.command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru");
  const client = connectRedis(cluster.url);
  onTestFinished(() => client.disconnect());

  const { level, warnings } = await examineRedis(client);

  expect(level).toBe("forgetful");
  expect(warnings).toEqual([
    expect.stringMatching(`^127.0.0.1:${odd?.port}: maxmemory-policy evicts`),
    expect.stringMatching(/^(127\.0\.0\.1:\d+, ){2}127\.0\.0\.1:\d+: It has replicas/),
  ]);
});

test("a server that is down is not known, and no exception", async () => {
  const client = new Redis({ host: "127.0.0.1", port: 1, retryStrategy: null, lazyConnect: true });
  client.on("error", () => undefined);

  const { level, errors } = await examineRedis(client);

  expect({ level, errors }).toEqual({ level: "unknown", errors: [] });
});

test("a store tells at its start what its server does not promise, and what its client can do, by process warnings", async () => {
  const node = await startRedis({ persistence: "none" });
  onTestFinished(() => node.close());
  const warn = vi.spyOn(process, "emitWarning").mockImplementation(() => undefined);
  onTestFinished(() => warn.mockRestore());
  const client = new Redis({ host: "127.0.0.1", port: node.port });
  onTestFinished(() => client.disconnect());

  redisStore(client);

  const saying = (what: string) => [
    expect.stringMatching(`^Redis at 127.0.0.1:${node.port} \\(forgetful\\): .*${what}`),
    { code: "IDEMPOTENCY_REDIS" },
  ];
  await expect
    .poll(() => warn.mock.calls)
    .toEqual(expect.arrayContaining(["commandTimeout", "appendonly"].map(saying)));
});

test("an onReport that throws is a process warning without a code, and the store works", async () => {
  const node = await startRedis();
  onTestFinished(() => node.close());
  const warn = vi.spyOn(process, "emitWarning").mockImplementation(() => undefined);
  onTestFinished(() => warn.mockRestore());
  const client = connectRedis(node.url);
  onTestFinished(() => client.disconnect());
  const thrown = new Error("from the listener");

  const store = redisStore(client, {
    onReport: () => {
      throw thrown;
    },
  });

  await expect.poll(() => warn.mock.calls).toEqual([[thrown]]);
  expect(await store.get("key")).toBeUndefined();
});

test("RESP3 maps are read as well as flat lists", async () => {
  const node = await startRedis();
  onTestFinished(() => node.close());
  const client = new Redis({ host: "127.0.0.1", port: node.port, replyMapping: "resp3" });
  onTestFinished(() => client.disconnect());

  expect((await examineRedis(client as unknown as Redis)).level).toBe("crash-safe");
});

describe("what no server here can show", () => {
  const healthy = { "maxmemory-policy": "noeviction", appendonly: "yes", appendfsync: "always" };

  test.each([
    ["6.2.14", 1],
    ["7.0.0", 0],
    ["7.4.1", 0],
    ["10.0.0", 0],
  ])("version %s", (version, errors) => {
    const info = { redis_version: version, role: "master" };

    expect(judge([{ name: "a:1", info, config: healthy }]).errors).toHaveLength(errors);
  });

  test("an append-only file that cannot be written is an error", () => {
    const info = { redis_version: "7.0.0", aof_last_write_status: "err" };

    expect(judge([{ name: "a:1", info, config: healthy }]).errors).toEqual([
      expect.stringContaining("see to its disk"),
    ]);
  });

  test("a client without nodes says nothing about them", () => {
    expect(judge([])).toEqual({ level: "unknown", errors: [], warnings: [] });
  });
});
