/**
 * Real Redis servers on free loopback ports, for tests and for people without Docker: one server, independent
 * masters, a cluster, Sentinel. Nothing outlives the process that started it.
 */
import type { RedisNodeOptions } from "./redis-config.js";
import { startRedis, type RedisNode } from "./redis-node.js";

export { startCluster, type RedisCluster } from "./redis-cluster.js";
export type { RedisConfig, RedisNodeOptions } from "./redis-config.js";
export { startRedis, type RedisNode } from "./redis-node.js";
export { startSentinel, type RedisSentinel } from "./redis-sentinel.js";

export interface RedisMasters {
  readonly nodes: readonly RedisNode[];
  readonly urls: readonly string[];
  close(): Promise<void>;
}

/** Independent masters, as Redlock wants them. */
export async function startMasters(
  count: number,
  options: RedisNodeOptions = {},
): Promise<RedisMasters> {
  const nodes = await Promise.all(Array.from({ length: count }, () => startRedis(options)));
  return {
    nodes,
    urls: nodes.map(({ url }) => url),
    close: async () => {
      await Promise.all(nodes.map((node) => node.close()));
    },
  };
}
