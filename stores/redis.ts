/** The store of one Redis endpoint: a single server, Sentinel, or Redis Cluster; Valkey as well. */
import { randomUUID } from "node:crypto";
import type { Cluster, Redis } from "ioredis";
import { OptionsError } from "../src/errors.js";
import { callback, custom, durationMs, integer, parseOptions, type Given } from "../src/options.js";
import type { Store } from "../src/store.js";
import { RedisEndpoint, type Claimed } from "./redis/endpoint.js";
import { Marker } from "./redis/marker.js";
import { DEFAULT_PREFIX, endpointName } from "./redis/name.js";
import { reportLoss, reportOn, warnOf, type OnReport } from "./redis/report.js";
import { recordValue } from "./redis/value.js";

export { examineRedis, type RedisLevel, type RedisReport } from "./redis/doctor.js";
export type { OnReport, RedisNodeReport } from "./redis/report.js";

export { checkClient, connectRedis, ready, type ConnectOverrides } from "./redis/connect.js";

interface RedisSettings {
  /** What every key begins with; no other program may write to such keys. Default: `"idempotency:"`. */
  readonly prefix: string;
  /**
   * How many replicas must confirm what a request claims, stores or replays (`WAIT`, on the same connection, where it
   * holds up the commands behind it). Fewer make the outcome unknown: the request is answered 503, and the next attempt
   * finds what is there. Default: `0`.
   */
  readonly minReplicas: number;
  /** How long to wait for them, in milliseconds: less than the client's `commandTimeout`. Default: `250`. */
  readonly replicaTimeoutMs: number;
  /**
   * Told once, at the start, what the server promises and what in the client's settings can hang a request or send a
   * command twice; and whenever it comes back without its data (`lostAt`). Default: a process warning for each finding,
   * and none for a server that promises all.
   */
  readonly onReport: OnReport;
}

export type RedisOptions = Given<RedisSettings>;

/**
 * Keeps leases and records at one Redis endpoint, one key per idempotency key. A fresh request costs two round trips
 * (claim, store), a replay one.
 *
 * What it promises is what the server promises: a server that restarts empty, evicts keys, or fails over to a replica
 * that had not got the last writes forgets requests, and a retry of those is executed again. `minReplicas` narrows the
 * last case. Each master holds a marker (`<prefix>marker {n}`, without an end), which the store looks for on every new
 * connection: a server that restarted empty is reported, but only a process that ran before can tell. A claim whose reply was lost may hold its key for the rest of its lease: retries get 409 until then.
 * Needs Redis 7.0 or Valkey.
 *
 * Responses travel as arguments of a script: a tracer that subscribes to ioredis 6 and records those sees bodies.
 *
 * @param client An ioredis client, best made by `connectRedis`; it stays yours to close.
 * @throws {OptionsError} for options that cannot work.
 * @example
 * ```ts
 * import { idempotency } from "idempotency-kit";
 * import { connectRedis, ready, redisStore } from "idempotency-kit/redis";
 *
 * const client = connectRedis("redis://localhost:6379");
 * await ready(client);
 * const protect = idempotency(redisStore(client));
 * ```
 */
export function redisStore(client: Redis | Cluster, options?: RedisOptions): Store {
  const { onReport, ...settings } = parse(client, options);
  const endpoint = new RedisEndpoint(client, settings);
  const node = endpointName(client);
  const marker = new Marker(client, {
    prefix: settings.prefix,
    onLoss: (lostAt, isOld) => {
      if (!isOld) reportLoss(node, lostAt, { consequence: FORGOTTEN, onReport });
    },
  });
  reportOn(client, { node, marker, onReport });

  return {
    async get(key) {
      const found = await endpoint.read(key);
      return found?.kind === "record" ? found.response : undefined;
    },

    async lock(key, fingerprint, leaseMs) {
      const validUntil = performance.now() + leaseMs;
      const lease = { key, token: randomUUID(), fingerprint, validUntil };
      let found: Claimed;
      try {
        found = await endpoint.claim(key, lease.token, fingerprint, leaseMs);
      } catch (error) {
        // It may have been granted all the same. Nobody will use that, and it would block the key for a whole lease.
        endpoint.release(key, lease.token).catch(() => undefined);
        throw error;
      }
      if (found === "granted") return { state: "acquired", lease };
      if (found.kind === "record") return { state: "completed", response: found.response };
      // The rest of the lease would cost another round trip; a whole one is its upper bound.
      const retryAfterMs = found.leaseMs;
      return { state: "in-progress", fingerprint: found.fingerprint, retryAfterMs };
    },

    async extend({ key, token }, leaseMs) {
      return (await endpoint.extend(key, token, leaseMs)) === "extended";
    },

    async set({ key, token }, response, ttlMs) {
      const found = await endpoint.store(key, token, recordValue({ token, response }), ttlMs);
      if (found === "stored") return { state: "stored" };
      if (found === "lapsed") return { state: "stored", lapsed: true };
      return found === "held" ? { state: "lost" } : { state: "lost", winner: found.response };
    },

    async unlock({ key, token }) {
      await endpoint.release(key, token);
    },

    async delete(key) {
      return await endpoint.delete(key);
    },
  };
}

const FORGOTTEN =
  "Retries of what it had stored are executed again. Set appendonly yes, and maxmemory-policy noeviction.";

/** The pace of connectRedis' `commandTimeout`, halved: the reason shall arrive before the time-out does. */
const REPLICA_TIMEOUT_MS = 250;

function parse(client: Redis | Cluster, options: RedisOptions | undefined): RedisSettings {
  if (typeof (client as Partial<Redis> | undefined)?.pipeline !== "function") {
    throw new OptionsError("redisStore", ["client must be an ioredis client, see connectRedis()"]);
  }
  return parseOptions<RedisSettings>(
    "redisStore",
    options,
    {
      prefix: custom(DEFAULT_PREFIX, "a string", (value) => typeof value === "string"),
      minReplicas: integer(0, 0, 100),
      replicaTimeoutMs: durationMs(REPLICA_TIMEOUT_MS),
      onReport: callback(warnOf),
    },
    (settings) => mistakesFor(client, settings),
  );
}

/** A client that gives up before the replicas may would never learn how many there were. */
function* mistakesFor(
  client: Redis | Cluster,
  { minReplicas, replicaTimeoutMs }: RedisSettings,
): Iterable<string> {
  if (minReplicas === 0) return;
  const limits = "nodes" in client ? (client.options.redisOptions ?? {}) : client.options;
  for (const name of ["commandTimeout", "socketTimeout"] as const) {
    const limitMs = limits[name];
    if (limitMs !== undefined && replicaTimeoutMs >= limitMs) {
      yield `replicaTimeoutMs (${replicaTimeoutMs}) must be less than the client's ${name} (${limitMs})`;
    }
  }
}
