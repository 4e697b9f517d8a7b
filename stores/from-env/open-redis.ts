/** Redis by its URL, one endpoint or a quorum. */
import type { Cluster, Redis } from "ioredis";
import type { Store } from "../../src/store.js";
import { connectRedis, examineRedis, ready, redisStore } from "../redis.js";
import { clockSkewMs } from "../redis/clock.js";
import { listRedis } from "../redis/list.js";
import { DEFAULT_PREFIX } from "../redis/name.js";
import type { OnReport } from "../redis/report.js";
import { withDriver } from "./driver.js";
import type { NodeReport, OpenStore } from "./open.js";
import type { StoreTarget } from "./target.js";
import type { StoreOptions } from "./variables.js";

type RedisStoreTarget = Extract<StoreTarget, { readonly kind: "redis" | "redlock" }>;
type Client = Redis | Cluster;

/**
 * How long a start waits for connections, once: a TLS handshake with a distant region after one lost packet. Those that
 * take longer are made all the same, in the background.
 */
const START_WAIT_MS = 2_000;

export async function openRedis(
  { kind, urls, names }: RedisStoreTarget,
  options: StoreOptions,
  onReport: OnReport | undefined,
): Promise<OpenStore> {
  const makeStore = kind === "redis" ? singleStore : await quorumStore();
  const clients = urls.map((url) => connectRedis(url));
  const close = async (): Promise<void> => {
    for (const client of clients) client.disconnect();
  };
  try {
    return {
      store: { ...makeStore(clients, options, onReport), close },
      unreachable: () => unreachable(clients, names),
      examine: () => Promise.all(clients.map((client, at) => examine(client, names[at] ?? ""))),
      list: (request) => listRedis(clients, options.prefix ?? DEFAULT_PREFIX, request),
    };
  } catch (error) {
    await close();
    throw error;
  }
}

type MakeStore = (
  clients: readonly Client[],
  options: StoreOptions,
  onReport: OnReport | undefined,
) => Store;

const singleStore: MakeStore = ([client], { prefix, minReplicas }, onReport) =>
  redisStore(client as Client, { prefix, minReplicas, onReport });

async function quorumStore(): Promise<MakeStore> {
  const { redlockStore } = await withDriver("redlock", () => import("../redlock.js"));
  return (clients, { prefix, nodeTimeoutMs }, onReport) =>
    redlockStore(clients, { prefix, nodeTimeoutMs, onReport });
}

async function unreachable(
  clients: readonly Client[],
  names: readonly string[],
): Promise<readonly string[]> {
  const reached = await Promise.allSettled(clients.map((client) => ready(client, START_WAIT_MS)));
  return reached.flatMap((one, at) =>
    one.status === "fulfilled" ? [] : [`Redis at ${names[at]}: ${(one.reason as Error).message}`],
  );
}

async function examine(client: Client, node: string): Promise<NodeReport> {
  const [report, skewMs] = await Promise.all([examineRedis(client), clockSkewMs(client)]);
  // Others may live with less; this breaks the promise itself.
  const forgets = "It forgets records, and their retries are executed again.";
  const errors = report.level === "forgetful" ? [forgets, ...report.errors] : report.errors;
  return { ...report, node, errors, clockSkewMs: skewMs };
}
