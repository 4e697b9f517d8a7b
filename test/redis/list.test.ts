/** Listing the keys of a Redis Cluster: all masters, each in its turn. */
import { expect, onTestFinished, test } from "vitest";
import { startCluster } from "../../infra/services/redis.js";
import { acquire, answer } from "../../src/testing/stage.js";
import { connectRedis, ready, redisStore } from "../../stores/redis.js";
import { listRedis } from "../../stores/redis/list.js";

const PREFIX = "idempotency:";

test("a Cluster's keys are listed in pages, master by master", async () => {
  const cluster = await startCluster();
  onTestFinished(() => cluster.close());
  const client = connectRedis(cluster.url, { commandTimeout: 30_000, socketTimeout: 30_000 });
  onTestFinished(() => client.disconnect());
  await ready(client, 60_000);
  const store = redisStore(client, { onReport: () => {} });
  const keys = Array.from({ length: 60 }, (_, at) => `key-${at}`).toSorted();
  for (const key of keys) await store.set(await acquire(store, key), answer(), 60_000);

  const found: string[] = [];
  let pages = 0;
  let cursor: string | undefined;
  do {
    const page = await listRedis([client], PREFIX, { limit: 15, limitMs: 60_000, cursor });
    expect(page.keys.every(({ state }) => state === "completed")).toBe(true);
    found.push(...page.keys.map(({ key }) => key));
    cursor = page.cursor;
    pages += 1;
  } while (cursor !== undefined);

  expect([...new Set(found)].toSorted()).toEqual(keys);
  expect(pages).toBeGreaterThan(2);
});
