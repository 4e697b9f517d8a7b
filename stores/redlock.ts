/** The store of a quorum: an odd number of independent Redis masters or clusters, for example one per region. */
import type { Cluster, Redis } from "ioredis";
import { callback, custom, durationMs, integer, parseOptions, type Given } from "../src/options.js";
import type { Store } from "../src/store.js";
import { RedisEndpoint } from "./redis/endpoint.js";
import { Marker } from "./redis/marker.js";
import { DEFAULT_PREFIX } from "./redis/name.js";
import { reportLoss, reportOn, warnOf, type OnReport } from "./redis/report.js";
import { recordValue } from "./redis/value.js";
import { mayBeNew } from "./redlock/newcomer.js";
import { nodeNames } from "./redlock/nodes.js";
import { Quorum } from "./redlock/quorum.js";
import { Voter } from "./redlock/voter.js";

interface RedlockSettings {
  /** What every key begins with; no other program may write to such keys. Default: `"idempotency:"`. */
  readonly prefix: string;
  /**
   * Limit of one call to one node, in milliseconds; a node that exceeds it is left out until it answers a ping.
   * Well above the round trip to the farthest region, well below the protocol's `storeTimeoutMs`. Default: `500`.
   */
  readonly nodeTimeoutMs: number;
  /**
   * How long a node abstains that came back without its data, in milliseconds from when that was noticed. It has
   * forgotten which records it answered with, and its vote for others would let requests run twice, until those records
   * end: so this is at least the longest `ttlMs`. With the other nodes up it costs nothing; when one of them fails as
   * well, requests get 503. 0: take it back at once. Default: `86_400_000`, a day, as `ttlMs`.
   */
  readonly quarantineMs: number;
  /** Told for each node, at the start, what it promises, and later that it lost its data; as `onReport` of `redisStore`. Default: process warnings. */
  readonly onReport: OnReport;
}

/** The protocol's default `ttlMs`. */
const DEFAULT_QUARANTINE_MS = 86_400_000;

export type RedlockOptions = Given<RedlockSettings>;

/**
 * Keeps leases and records on a majority of N independent nodes: a minority may die, hang or be cut off.
 *
 * Agreement needs no clock: a node never changes a stored record, and a record is answered only while a majority
 * holds it. A node that lost its data would break the first rule: it is noticed by its marker, reported, and abstains
 * for `quarantineMs`. Let nodes persist all the same (`appendonly yes`, `appendfsync always`): the marker tells of all
 * data that is lost, not of the last second. Nodes must not fail over to replicas.
 *
 * `delete` empties the nodes that answer, at least a majority. A copy on another one comes back with it, and is adopted
 * and replayed if nothing else was stored meanwhile: delete the key again when all nodes are up.
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
  const { prefix, nodeTimeoutMs, quarantineMs, onReport } = parseOptions<RedlockSettings>(
    "redlockStore",
    options,
    {
      prefix: custom(DEFAULT_PREFIX, "a string", (value) => typeof value === "string"),
      nodeTimeoutMs: durationMs(500),
      quarantineMs: integer(DEFAULT_QUARANTINE_MS, 0, Number.MAX_SAFE_INTEGER),
      onReport: callback(warnOf),
    },
  );
  const names = nodeNames(clients);
  const markers: Marker[] = clients.map((client, node) => {
    const name = names[node] ?? "";
    return new Marker(client, {
      prefix,
      mayBeNew: () =>
        mayBeNew(
          markers.filter((_, at) => at !== node),
          nodeTimeoutMs / 2,
        ),
      onLoss: (lostAt) => {
        const until = new Date(lostAt.getTime() + quarantineMs);
        const consequence = `It abstains until ${until.toISOString()} (quarantineMs).`;
        if (until.getTime() > Date.now()) reportLoss(name, lostAt, { consequence, onReport });
      },
    });
  });
  const voters = clients.map((client, node) => {
    const endpoint = new RedisEndpoint(client, { prefix, minReplicas: 0, replicaTimeoutMs: 0 });
    const name = names[node] ?? "";
    const marker = markers[node] as Marker;
    reportOn(client, { node: name, marker, onReport });
    return new Voter(endpoint, marker, { name, nodeTimeoutMs, quarantineMs });
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
