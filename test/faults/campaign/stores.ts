/** The stores of a campaign as a server process opens them: the kit's own, and flawed ones that must be caught. */
import type { Cluster, Redis } from "ioredis";
import type { Store } from "../../../src/store.js";
import { memoryStore } from "../../../stores/memory.js";
import { connectRedis, ready, redisStore } from "../../../stores/redis.js";
import { redlockStore } from "../../../stores/redlock.js";
import { FLAWED_STORES } from "./flawed-stores.js";
import type { ServerSettings } from "./settings.js";

/** Below a third of the shortest lease, so that a hung node costs no renewal. */
const NODE_TIMEOUT_MS = 250;

/** A server that is started amid an outage answers 503 until it is over. */
const READY_TIMEOUT_MS = 1_000;

/** What an entry may take where memory is short: a small answer's, so that large ones are not kept. */
const ENTRY_BYTES = 1_500;

type Open = (settings: ServerSettings, onEvict: (key: string) => void) => Promise<Store>;

const quorum: Open = async (settings) =>
  redlockStore(await connections(settings), { nodeTimeoutMs: NODE_TIMEOUT_MS, onReport: () => {} });

const OPEN: Readonly<Record<string, Open>> = {
  memory: async ({ maxEntries }, onEvict) =>
    memoryStore({
      ...(maxEntries && { maxEntries, maxBytes: maxEntries * ENTRY_BYTES }),
      onEvict: ({ key, kept }) => {
        if (kept === "nothing") onEvict(key);
      },
    }),
  redis: async (settings) => redisStore(await connection(settings), { onReport: () => {} }),
  // A failover forgets what no replica has: each write is confirmed by the one that there is.
  cluster: async (settings) =>
    redisStore(await connection(settings), { minReplicas: 1, onReport: () => {} }),
  redlock: quorum,
  redlock5: quorum,
  dynamodb: async ({ urls: [endpoint = ""], tableName }) => {
    const { dynamodbStore } = await import("../../../stores/dynamodb.js");
    // The driver's limits are those of the protocol, a third of the lease, and less.
    const limits = { timeoutMs: 600, requestTimeoutMs: 250 };
    return dynamodbStore({ tableName, endpoint, region: "us-east-1", ...limits });
  },
};

export async function openStore(
  settings: ServerSettings,
  onEvict: (key: string) => void,
): Promise<Store> {
  const flawed = FLAWED_STORES[settings.store];
  if (flawed !== undefined) return flawed.open(await connections(settings));
  const open = OPEN[settings.store];
  if (open === undefined) throw new Error(`There is no store named ${settings.store}.`);
  return await open(settings, onEvict);
}

async function connection(settings: ServerSettings): Promise<Redis | Cluster> {
  const { urls, ports } = settings;
  const natMap = Object.fromEntries(
    Object.entries(ports).map(([address, port]) => [address, { host: "127.0.0.1", port }]),
  );
  const [url = ""] = urls;
  const client = connectRedis(url, url.startsWith("redis+cluster:") ? { cluster: { natMap } } : {});
  await ready(client, READY_TIMEOUT_MS).catch(() => undefined);
  return client;
}

async function connections({ urls, ...settings }: ServerSettings): Promise<(Redis | Cluster)[]> {
  return await Promise.all(urls.map((url) => connection({ ...settings, urls: [url] })));
}
