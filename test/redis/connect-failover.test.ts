/** Clients of connectRedis while a Cluster or Sentinel fails over: they fail closed, in time, and recover. */
import type { Cluster, Redis } from "ioredis";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  startCluster,
  startSentinel,
  type RedisCluster,
  type RedisNode,
  type RedisSentinel,
} from "../../infra/services/redis.js";
import { until } from "../../infra/services/until.js";
import {
  AT_ONCE_MS,
  closing,
  connected,
  failureMs,
  IOREDIS_VERSIONS,
  ONE_TIMEOUT_MS,
  proxied,
  recovered,
} from "../support/redis-clients.js";

let cluster: RedisCluster;
let secure: RedisCluster;
let sentinels: Readonly<Record<"kill" | "stop" | "replace", RedisSentinel>>;

// Each takes two seconds to form, all together as well.
beforeAll(async () => {
  const forming = [startSentinel(), startSentinel(), startSentinel({ tls: true })] as const;
  [cluster, secure] = await Promise.all([startCluster(), startCluster({ tls: true })]);
  const [kill, stop, replace] = await Promise.all(forming);
  sentinels = { kill, stop, replace };
}, 60_000);
afterAll(() =>
  Promise.all([cluster, secure, ...Object.values(sentinels)].map((service) => service.close())),
);

describe("Redis Cluster", { timeout: 60_000 }, () => {
  const burst = (client: Redis | Cluster): Promise<unknown>[] =>
    Array.from({ length: 200 }, (_, at) => client.set(`key${at}`, "1"));

  test.each(IOREDIS_VERSIONS)(
    "ioredis %s: the first burst of commands succeeds",
    async (_, connectModule) => {
      const module = await connectModule();
      const client = closing(module.connectRedis(cluster.nodes.slice(0, 2).map(({ url }) => url)));

      await module.ready(client);

      expect(await Promise.all(burst(client))).toEqual(Array.from({ length: 200 }, () => "OK"));
      expect(module.checkClient(client)).toEqual([]);
    },
  );

  test("a command whose reply was lost is not sent again", async () => {
    const master = await cluster.masterOf("n");
    const proxy = await proxied(master.port);
    const natMap = { [`127.0.0.1:${master.port}`]: { host: "127.0.0.1", port: proxy.port } };
    const client = await connected(cluster.url, { cluster: { natMap } });
    const cut = proxy.cutAfterRequest((bytes) => bytes.includes("incr"));

    await failureMs(client.incr("n"));
    await cut;
    await recovered(client, "n{n}");

    expect(await client.get("n")).toBe("1");
    expect(proxy.traffic.requests["INCR"]).toBe(1);
  });

  test("a stopped master fails only its own keys, each in time, until its replica takes over", async () => {
    const client = await connected(cluster.url);
    const master = await cluster.masterOf("key");
    const others = cluster.masters.filter((node) => node !== master);
    const theirs = await keyOf(others);
    await master.stop();

    const slowest = Math.max(
      await failureMs(client.set("key", "1")),
      await failureMs(client.set("key", "1")),
    );
    expect(slowest).toBeLessThan(ONE_TIMEOUT_MS);
    expect(await client.set(theirs, "1")).toBe("OK");
    await recovered(client);

    expect(await Promise.all(burst(client))).toHaveLength(200);
    master.resume();
    await until("demoted", async () => String(await master.command("ROLE")).startsWith("slave"));
  });

  test("a client outlives the death of all nodes", async () => {
    const client = await connected(cluster.url);
    await Promise.all(cluster.nodes.map((node) => node.kill()));

    expect(await failureMs(client.set("key", "1"))).toBeLessThan(AT_ONCE_MS);
    await Promise.all(cluster.nodes.map((node) => node.restart({ keepData: true })));
    await recovered(client);

    expect(client.status).toBe("ready");
  });

  test("TLS by name, over every connection", async () => {
    const url = secure.url.replaceAll("127.0.0.1", "localhost");

    const client = await connected(url, { tls: { ca: secure.ca } });

    expect(await Promise.all(burst(client))).toHaveLength(200);
  });
});

/** A key that one of these nodes serves. */
async function keyOf(nodes: readonly RedisNode[]): Promise<string> {
  for (let at = 0; ; at += 1) {
    if (nodes.includes(await cluster.masterOf(`other${at}`))) return `other${at}`;
  }
}

describe("Sentinel", { timeout: 60_000 }, () => {
  test.each(["kill", "stop"] as const)("fails closed and recovers: %s", async (how) => {
    const sentinel = sentinels[how];
    const client = await connected(sentinel.url);
    const master = await sentinel.master();

    await master[how]();
    expect(await failureMs(client.set("key", "1"))).toBeLessThan(ONE_TIMEOUT_MS);
    expect(await failureMs(client.set("key", "1"))).toBeLessThan(AT_ONCE_MS);
    await recovered(client);

    const promoted = sentinel.nodes.find((node) => node !== master);
    expect(await promoted?.command("GET", "key")).toBe("1");
  });

  test("a master that was replaced, but still takes writes, is left at once; a hung sentinel is passed over", async () => {
    const sentinel = sentinels.replace;
    const [first, second] = sentinel.sentinels as [RedisNode, RedisNode];
    await first.stop();
    const client = await connected(sentinel.url, { tls: { ca: sentinel.ca } });
    first.resume();
    const replaced = new Promise((resolve) => {
      client.once("close", resolve);
    });

    await second.command("SENTINEL", "FAILOVER", sentinel.name);
    await replaced;
    await recovered(client);

    expect(await (await sentinel.master()).command("GET", "key")).toBe("1");
  });
});
