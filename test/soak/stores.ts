/** The stores as the process under test opens them, and what of them lives as long as it does. */
import type { EventEmitter } from "node:events";
import type { Cluster, Redis } from "ioredis";
import type { Store } from "../../src/store.js";
import { dynamodbStore } from "../../stores/dynamodb.js";
import { memoryStore } from "../../stores/memory.js";
import { connectRedis, ready, redisStore } from "../../stores/redis.js";
import { redlockStore } from "../../stores/redlock.js";
import { TABLE_NAME, type ServerSettings, type StoreName } from "./settings.js";

export interface OpenStore {
  readonly store: Store;
  /** Emitters whose listeners are counted, by name; connections change. */
  readonly emitters: () => Readonly<Record<string, EventEmitter>>;
}

/** Below a third of the lease, so that a node that hangs costs no renewal. */
const NODE_TIMEOUT_MS = 250;

const QUIET = { onReport: () => {} };

const OPEN: Readonly<Record<StoreName, (urls: readonly string[]) => Promise<OpenStore>>> = {
  memory: async () => ({ store: memoryStore(), emitters: () => ({}) }),
  redis: async (urls) => {
    const clients = await connect(urls);
    return { store: redisStore(clients[0] as Redis, QUIET), emitters: () => emittersOf(clients) };
  },
  redlock: async (urls) => {
    const clients = await connect(urls);
    const store = redlockStore(clients, { ...QUIET, nodeTimeoutMs: NODE_TIMEOUT_MS });
    return { store, emitters: () => emittersOf(clients) };
  },
  dynamodb: async ([endpoint = ""]) => {
    const limits = { timeoutMs: 600, requestTimeoutMs: NODE_TIMEOUT_MS };
    const table = { tableName: TABLE_NAME, endpoint, region: "us-east-1" };
    return { store: dynamodbStore({ ...table, ...limits }), emitters: () => ({}) };
  },
};

export function openStore({ store, urls }: ServerSettings): Promise<OpenStore> {
  return OPEN[store](urls);
}

async function connect(urls: readonly string[]): Promise<(Redis | Cluster)[]> {
  const clients = urls.map((url) => connectRedis(url));
  await Promise.all(clients.map((client) => ready(client)));
  return clients;
}

function emittersOf(clients: readonly (Redis | Cluster)[]): Record<string, EventEmitter> {
  return Object.fromEntries(
    clients.flatMap((client, at) => [
      [`client ${at}`, client as EventEmitter],
      [`connection ${at}`, (client as Redis).stream as EventEmitter],
    ]),
  );
}
