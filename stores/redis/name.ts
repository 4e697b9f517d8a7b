/** What an endpoint is called in errors and reports: by its address, never with credentials. */
import type { Cluster, Redis } from "ioredis";
import type { RedisTarget } from "./url.js";

/** What every key begins with, unless the option `prefix` says otherwise. */
export const DEFAULT_PREFIX = "idempotency:";

type Address = string | number | { readonly host?: string; readonly port?: number };

const REDIS_PORT = 6_379;
const SENTINEL_PORT = 26_379;
const LOOPBACK = new Set(["localhost", "::1", "[::1]"]);

/** By what it was told to connect to: most have not yet when the store is made. */
export function endpointName(client: Redis | Cluster): string {
  if ("nodes" in client) {
    // Not public, but the only place that has the addresses before the first connection.
    const { startupNodes = [] } = client as unknown as { startupNodes?: readonly Address[] };
    return clusterName(startupNodes);
  }
  const { host, port, path, sentinels, name } = client.options;
  if (path) return path;
  if (sentinels) return sentinelName(name ?? undefined, sentinels);
  return address({ host: host ?? "", port: port ?? REDIS_PORT }, REDIS_PORT);
}

/** What the endpoint of a client that `connectRedis` makes for this will be called. */
export function targetName({ topology, hosts, masterName }: RedisTarget): string {
  if (topology === "cluster") return clusterName(hosts);
  if (topology === "sentinel") return sentinelName(masterName, hosts);
  return addresses(hosts, REDIS_PORT);
}

function clusterName(nodes: readonly Address[]): string {
  return `cluster of ${addresses(nodes, REDIS_PORT)}`;
}

function sentinelName(master: string | undefined, sentinels: readonly Address[]): string {
  return `${master} of sentinels ${addresses(sentinels, SENTINEL_PORT)}`;
}

function addresses(all: readonly Address[], defaultPort: number): string {
  return all
    .map((one) => address(one, defaultPort))
    .toSorted()
    .join(", ");
}

function address(given: Address, defaultPort: number): string {
  if (typeof given === "number") return `127.0.0.1:${given}`;
  if (typeof given === "string") {
    const { hostname, port } = new URL(given.includes("://") ? given : `redis://${given}`);
    return address({ host: hostname, port: port === "" ? defaultPort : Number(port) }, defaultPort);
  }
  const { host = "", port = defaultPort } = given;
  const name = host.toLowerCase();
  return `${name === "" || LOOPBACK.has(name) ? "127.0.0.1" : name}:${port}`;
}
