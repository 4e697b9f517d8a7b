/** The store of a quorum: an odd number of independent Redis masters or clusters, for example one per region. */
import type { Cluster, Redis } from "ioredis";
import { callback, custom, durationMs, parseOptions, type Given } from "../src/options.js";
import type { Store } from "../src/store.js";
import { RedisEndpoint } from "./redis/endpoint.js";
import { reportOn, warnOf, type OnReport } from "./redis/report.js";
import { recordValue } from "./redis/value.js";
import { nodeNames } from "./redlock/nodes.js";
import { Quorum } from "./redlock/quorum.js";
import { Voter } from "./redlock/voter.js";

interface RedlockSettings {
  /** What every key begins with. Default: `idempotency:`. No other program may write to such keys. */
  readonly prefix: string;
  /**
   * Limit of one call to one node, in milliseconds; a node that exceeds it is left out until it answers a ping.
   * Default: 500. Well above the round trip to the farthest region, well below the protocol's `storeTimeoutMs`.
   */
  readonly nodeTimeoutMs: number;
  /** Told once for each node, at the start, what it promises; as `onReport` of `redisStore`. Default: process warnings. */
  readonly onReport: OnReport;
}

export type RedlockOptions = Given<RedlockSettings>;

/**
 * Keeps leases and records on a majority of N independent nodes: a minority may die, hang or be cut off.
 *
 * Agreement needs no clock: a node never changes a stored record, and a record is answered only while a majority
 * holds it. A node that restarts empty breaks the first rule: let nodes persist (`appendonly yes`, `appendfsync always`),
 * or keep such a node out for as long as records live. Nodes must not fail over to replicas. `delete` empties the nodes
 * that answer: a copy on a node that is down comes back with it, and must be deleted again.
 *
 * @param clients An odd number of ioredis clients, three or more, each of another node; they stay yours to close.
 * @throws {OptionsError} for an even number, fewer than three, or the same node twice.
 * @example
 * ```ts
 * import { idempotency } from "idempotency-kit";
 * import { connectRedis } from "idempotency-kit/redis";
 * import { redlockStore } from "idempotency-kit/redlock";
 *
 * const regions = ["redis://eu:6379", "redis://us:6379", "redis://ap:6379"];
 * const protect = idempotency(redlockStore(regions.map((url) => connectRedis(url))));
 * ```
 */
export function redlockStore(
  clients: readonly (Redis | Cluster)[],
  options?: RedlockOptions,
): Store {
  const { prefix, nodeTimeoutMs, onReport } = parseOptions<RedlockSettings>(
    "redlockStore",
    options,
    {
      prefix: custom("idempotency:", "a string", (value) => typeof value === "string"),
      nodeTimeoutMs: durationMs(500),
      onReport: callback(warnOf),
    },
  );
  const names = nodeNames(clients);
  const voters = clients.map((client, node) => {
    const endpoint = new RedisEndpoint(client, { prefix, minReplicas: 0, replicaTimeoutMs: 0 });
    const name = names[node] ?? "";
    reportOn(client, name, onReport);
    return new Voter(endpoint, { name, nodeTimeoutMs });
  });
  const quorum = new Quorum(voters);
  return {
    get: (key) => quorum.read(key),
    lock: (key, fingerprint, leaseMs) => quorum.lock(key, fingerprint, leaseMs),
    extend: (lease, leaseMs) => quorum.extend(lease, leaseMs),
    set: async (lease, response, ttlMs) => {
      const { token } = lease;
      return await quorum.set(lease, recordValue({ token, response }), ttlMs);
    },
    unlock: (lease) => quorum.unlock(lease),
    delete: (key) => quorum.delete(key),
  };
}
