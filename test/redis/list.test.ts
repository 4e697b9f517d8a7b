/** Listing keys by `SCAN`: the masters of a Cluster and the nodes of a quorum, each in its turn. */
import { expect, onTestFinished, test } from "vitest";
import { startCluster, startMasters, startRedis } from "../../infra/services/redis.js";
import type { Store } from "../../src/index.js";
import { acquire, answer, LONG_MS } from "../../src/testing/stage.js";
import type { Listed } from "../../stores/listing.js";
import { connectRedis, ready, redisStore } from "../../stores/redis.js";
import { listRedis } from "../../stores/redis/list.js";
import { redlockStore } from "../../stores/redlock.js";

const PREFIX = "idempotency:";
const KEYS = Array.from({ length: 60 }, (_, at) => `key-${at}`).toSorted();

type Client = ReturnType<typeof connectRedis>;

/** Connected, and patient: a busy machine is no failure. */
async function connected(url: string): Promise<Client> {
  const client = connectRedis(url, { commandTimeout: 30_000, socketTimeout: 30_000 });
  onTestFinished(() => client.disconnect());
  await ready(client, 60_000);
  return client;
}

async function complete(store: Store, key: string): Promise<void> {
  await store.set(await acquire(store, key), answer(), LONG_MS);
}

async function pages(clients: readonly Client[], limit: number): Promise<Listed[][]> {
  const found: Listed[][] = [];
  let cursor: string | undefined;
  do {
    const page = await listRedis(clients, PREFIX, { limit, limitMs: 60_000, cursor });
    found.push([...page.keys]);
    cursor = page.cursor;
  } while (cursor !== undefined);
  return found;
}

function names(found: readonly Listed[]): string[] {
  return [...new Set(found.map(({ key }) => key))].toSorted();
}

test("a Cluster's keys are listed in pages, master by master", async () => {
  const cluster = await startCluster();
  onTestFinished(() => cluster.close());
  const client = await connected(cluster.url);
  const store = redisStore(client, { onReport: () => {} });
  for (const key of KEYS) await complete(store, key);

  const found = await pages([client], 15);

  expect(names(found.flat())).toEqual(KEYS);
  expect(found.flat().every(({ state }) => state === "completed")).toBe(true);
  expect(found.length).toBeGreaterThan(2);
});

test("what is held, what is completed and what somebody else wrote are told apart", async () => {
  const node = await startRedis();
  onTestFinished(() => node.close());
  const client = await connected(node.url);
  const store = redisStore(client, { onReport: () => {} });
  await complete(store, "completed");
  await acquire(store, "held");
  await client.set(`${PREFIX}unknown`, "Records of another program");

  const found = (await pages([client], 15)).flat();

  expect(Object.fromEntries(found.map(({ key, state }) => [key, state]))).toEqual({
    completed: "completed",
    held: "held",
    unknown: "unknown",
  });
});

test("a page that has no time left ends with a cursor, from which the next goes on", async () => {
  const node = await startRedis();
  onTestFinished(() => node.close());
  const client = await connected(node.url);
  await complete(redisStore(client, { onReport: () => {} }), "key");

  const limits = { limit: 10, limitMs: 0, cursor: undefined };
  const page = await listRedis([client], PREFIX, limits);
  expect(page).toEqual({ keys: [], cursor: expect.any(String) });
  const rest = { limit: 10, limitMs: 30_000, cursor: page.cursor };
  expect(await listRedis([client], PREFIX, rest)).toMatchObject({ keys: [{ key: "key" }] });
});

test("a quorum's keys are listed once each, with how many nodes hold just that", async () => {
  const masters = await startMasters(3);
  onTestFinished(() => masters.close());
  const clients = await Promise.all(masters.urls.map(connected));
  const store = redlockStore(clients, { onReport: () => {}, nodeTimeoutMs: 20_000 });
  for (const key of KEYS) await complete(store, key);
  // The last of three may be written after the answer.
  const holds = async (): Promise<boolean> => {
    const counts = await Promise.all(masters.nodes.map((node) => node.command("DBSIZE")));
    return counts.every((count) => Number(count) > KEYS.length);
  };
  await expect.poll(holds, { timeout: 30_000 }).toBe(true);
  const [first, , third] = masters.nodes;
  // A record on one node alone, and one that a node does not have.
  await third?.command("COPY", `${PREFIX}key-0`, `${PREFIX}alone`);
  await first?.command("DEL", `${PREFIX}key-1`);

  const found = (await pages(clients, 10)).flat();

  const nodes = new Map(found.map((one) => [one.key, one.nodes]));
  expect(names(found)).toEqual(["alone", ...KEYS]);
  // SCAN may repeat a key; listed by every node they would be three times as many.
  expect(found.length).toBeLessThan(2 * KEYS.length);
  expect(["alone", "key-0", "key-1"].map((key) => nodes.get(key))).toEqual([1, 3, 2]);
});
