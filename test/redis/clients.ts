/** Clients and proxies that end with their test, and what several files ask of them. */
import { randomUUID } from "node:crypto";
import { Redis, type Cluster } from "ioredis";
import { onTestFinished } from "vitest";
import type { RedisCluster, RedisNode } from "../../infra/services/redis.js";
import { until } from "../../infra/services/until.js";
import { connectRedis, ready, type ConnectOverrides } from "../../stores/redis.js";
import { Marker, type MarkerOptions } from "../../stores/redis/marker.js";
import { startProxy, type FaultProxy, type Match } from "../support/fault-proxy.js";
import { commandName } from "../support/resp.js";

/** Ready, with the strict options: no wait without a limit, and nothing is sent twice behind the store's back. */
export async function connected(
  urlOrPort: string | number,
  overrides: ConnectOverrides = {},
): Promise<Redis | Cluster> {
  const url = typeof urlOrPort === "number" ? `redis://127.0.0.1:${urlOrPort}` : urlOrPort;
  const client = connectRedis(url, overrides);
  onTestFinished(() => client.disconnect());
  await ready(client);
  return client;
}

/** As ioredis is by default, but quick to reconnect: it sends again whatever was not answered. */
export async function resending(port: number): Promise<Redis> {
  const client = new Redis({ port, host: "127.0.0.1", retryStrategy: () => 5 });
  onTestFinished(() => client.disconnect());
  await ready(client);
  return client;
}

export async function proxyTo(port: number): Promise<FaultProxy> {
  const proxy = await startProxy(port);
  onTestFinished(() => proxy.close());
  return proxy;
}

/** Asks until it is so; a failure means not yet. There is no event for what a server will answer. */
export function eventually(reached: () => Promise<boolean>): Promise<void> {
  return until("it comes about", () => reached().catch(() => false));
}

/** Has the server's marker written, which the first store that connects does whenever it likes. */
export async function marked(node: RedisNode): Promise<void> {
  const client = connectRedis(node.url);
  await ready(client);
  const marker = new Marker(client, { prefix: "idempotency:", onLoss: () => {} });
  await marker.look();
  client.disconnect();
}

/** Each test has markers of its own. */
export function ownMarker(): { prefix: string; name: string } {
  const prefix = `${randomUUID()}:`;
  return { prefix, name: `${prefix}marker {0}` };
}

/** A marker that is watched, and each loss that it told of. */
export function watching(client: Redis | Cluster, options: Omit<MarkerOptions, "onLoss">) {
  const losses: { lostAt: Date; isOld: boolean }[] = [];
  const onLoss: MarkerOptions["onLoss"] = (lostAt, isOld) => void losses.push({ lostAt, isOld });
  return { marker: new Marker(client, { ...options, onLoss }), losses };
}

/** How often a command came since `CONFIG RESETSTAT`. */
export async function count(server: RedisNode, command: string): Promise<number> {
  const info = String(await server.command("INFO", "commandstats"));
  return Number(new RegExp(`cmdstat_${command}:calls=(\\d+)`).exec(info)?.[1] ?? 0);
}

/** A Cluster's master restarts without its data; its replica does not take over, but follows it and is empty as well. */
export async function comesBackEmpty(cluster: RedisCluster, master: RedisNode): Promise<void> {
  const stay = ["CONFIG", "SET", "cluster-replica-no-failover", "yes"] as const;
  await Promise.all(cluster.replicas.map((node) => node.command(...stay)));
  await master.restart({ keepData: false });
}

/** Empties a master; resolves when its replica has confirmed that, and will confirm what follows in time. */
export async function attached(master: RedisNode): Promise<void> {
  await master.command("FLUSHALL");
  await eventually(async () => {
    const info = String(await master.command("INFO", "replication"));
    const [, confirmed] = /^slave0:.*state=online,offset=(\d+)/m.exec(info) ?? [];
    const [, written] = /^master_repl_offset:(\d+)/m.exec(info) ?? [];
    return confirmed !== undefined && confirmed === written;
  });
}

/** For the proxy: requests of this command. */
export function named(name: string): Match {
  return (bytes) => commandName(bytes) === name;
}
