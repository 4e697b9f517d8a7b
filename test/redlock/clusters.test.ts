/** A quorum whose nodes are a Redis Cluster and two single servers: a Cluster is one voter. */
import type { Cluster, Redis } from "ioredis";
import { expect, onTestFinished, test, vi } from "vitest";
import { startCluster, startMasters } from "../../infra/services/redis.js";
import { answer, FINGERPRINT, LONG_MS } from "../../src/testing/stage.js";
import { connectRedis, ready, type RedisNodeReport } from "../../stores/redis.js";
import { redlockStore } from "../../stores/redlock.js";
import { comesBackEmpty, eventually } from "../redis/clients.js";
import { acquired, completed, failure, freshKey, NODE_TIMEOUT_MS, PREFIX } from "./stage.js";

// Failovers take seconds.
vi.setConfig({ testTimeout: 60_000 });

async function mixedQuorum() {
  const [cluster, singles] = await Promise.all([startCluster(), startMasters(2)]);
  onTestFinished(async () => {
    await Promise.all([cluster.close(), singles.close()]);
  });
  const clients = [cluster.url, ...singles.urls].map((url) => connectRedis(url));
  onTestFinished(() => {
    for (const client of clients) client.disconnect();
  });
  await Promise.all(clients.map((client) => ready(client)));
  const losses: RedisNodeReport[] = [];
  const onReport = (report: RedisNodeReport): void => {
    if (report.lostAt !== undefined) losses.push(report);
  };
  const store = redlockStore(clients, { nodeTimeoutMs: NODE_TIMEOUT_MS, onReport });
  const claim = (key: string) => store.lock(key, FINGERPRINT, LONG_MS);
  const complete = async (key: string) => {
    const response = answer();
    const lease = await acquired(claim(key));
    expect(await store.extend(lease, LONG_MS)).toBe(true);
    expect(await store.set(lease, response, LONG_MS)).toEqual({ state: "stored" });
    return response;
  };
  const [first, second] = singles.nodes;
  if (first === undefined || second === undefined) throw new Error("There should be two.");
  return {
    cluster,
    first,
    second,
    clients: clients as [Cluster, Redis, Redis],
    claim,
    complete,
    losses,
  };
}

test("keys all over the Cluster are claimed, extended, stored and replayed, also with one node of three gone, and not with two", async () => {
  const { first, second, claim, complete } = await mixedQuorum();
  const keys = Array.from({ length: 20 }, freshKey);

  const responses = await Promise.all(keys.map((key) => complete(key)));
  await first.kill();
  const replays = await Promise.all(keys.map((key) => completed(claim(key))));

  expect(replays).toEqual(responses);
  await complete(freshKey());
  await second.kill();
  expect(await failure(claim(freshKey()))).toMatchObject({ code: "STORE_UNAVAILABLE" });
});

test("a master of the Cluster that dies is replaced by its replica, which votes with the same marker", async () => {
  const { cluster, first, clients, claim, complete, losses } = await mixedQuorum();
  const key = freshKey();
  const failing = await cluster.masterOf(PREFIX + key);
  await complete(freshKey());

  await failing.kill();
  const response = await complete(key);
  await eventually(async () => (await cluster.masterOf(PREFIX + key)) !== failing);
  await eventually(async () => (await clients[0].get(PREFIX + key)) !== undefined);
  await first.kill();

  expect(await vi.waitFor(() => completed(claim(key)), { timeout: 20_000 })).toEqual(response);
  expect(losses).toEqual([]);
});

test("a Cluster one of whose masters comes back empty abstains, for every key", async () => {
  const { cluster, first, clients, claim, complete, losses } = await mixedQuorum();
  const key = freshKey();
  const response = await complete(key);
  const emptied = await cluster.masterOf(PREFIX + key);

  await comesBackEmpty(cluster, emptied);
  // ioredis finds a master again when a key needs it; what is down then is looked at until it is up.
  await clients[0].get(PREFIX + key).catch(() => {});
  await expect.poll(() => losses).toMatchObject([{ node: expect.stringContaining("cluster of") }]);

  expect(await completed(claim(key))).toEqual(response);
  await complete(freshKey());
  await first.kill();
  for (const any of [key, freshKey(), freshKey(), freshKey()]) {
    expect((await failure(claim(any))).message).toContain("abstains");
  }
});
