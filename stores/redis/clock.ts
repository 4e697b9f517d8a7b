/** The clock of a Redis server against this machine's. */
import type { Cluster, Redis } from "ioredis";

/**
 * How far the server's clock is ahead, in milliseconds, give or take half a round trip; of a Cluster's masters the one
 * that is farthest off. `undefined` where none answers.
 */
export async function clockSkewMs(client: Redis | Cluster): Promise<number | undefined> {
  const nodes = "nodes" in client ? client.nodes("master") : [client];
  const skews = await Promise.all(nodes.map((node) => skewOf(node).catch(() => undefined)));
  const known = skews.filter((skew) => skew !== undefined);
  return known.toSorted((a, b) => Math.abs(b) - Math.abs(a))[0];
}

async function skewOf(node: Redis): Promise<number> {
  const sentAt = Date.now();
  const [seconds, microseconds] = await node.time();
  const midwayMs = (sentAt + Date.now()) / 2;
  return Math.round(Number(seconds) * 1_000 + Number(microseconds) / 1_000 - midwayMs);
}
