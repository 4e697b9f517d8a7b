/** An optional front for any store: replays that this process has seen before come from its memory. */
import { OptionsError } from "../src/errors.js";
import { integer, parseOptions, type Given } from "../src/options.js";
import type { CachedResponse, Lease, SetResult, Store } from "../src/store.js";
import { CachedRecords, type CacheLimits } from "./local-cache/cached-records.js";

export type LocalCacheOptions = Given<CacheLimits>;

const VERBS = ["get", "lock", "extend", "set", "unlock", "delete"] as const;
// V8's Map ends there.
const MOST_ENTRIES = 2 ** 24;
// Room for a few small responses.
const LEAST_BYTES = 16 * 1024;

/**
 * Answers `lock` and `get` of a completed key from memory, without a round trip, where this process stored or read
 * its record before. For clients that repeat one request many times, and for stores that charge by the request.
 *
 * Only completed records are kept, tombstones as tombstones, until they expire or room is needed: those that were not
 * asked for longest go first, which costs a round trip and no promise. A stored record never changes, so every
 * process still answers the same.
 *
 * **`delete` reaches this process's cache only.** Others that saw the record go on replaying it until it expires, or until
 * they restart; the same holds for records that the store's servers lose. Where operators delete keys, do it in each
 * process, or keep `ttlMs` short. A process whose clock is behind replays for as much longer.
 *
 * @param options `maxEntries` (default 10 000) and `maxBytes` (default 16 MiB; a response above an eighth of it is not
 * kept here).
 * @returns A store with the verbs of `store`, `commit` included where it has one. Its `close` closes both.
 * @throws {OptionsError} for options that cannot work.
 * @example
 * ```ts
 * import { idempotency } from "idempotency-kit";
 * import { withLocalCache } from "idempotency-kit/local-cache";
 * import { connectRedis, redisStore } from "idempotency-kit/redis";
 *
 * const store = redisStore(connectRedis("redis://localhost:6379"));
 * const protect = idempotency(withLocalCache(store, { maxEntries: 50_000 }));
 * ```
 */
export function withLocalCache(store: Store, options?: LocalCacheOptions): Store {
  const cached = new CachedRecords(parse(store, options));
  /** Leases of this process that nobody has offered a response under: what such a first offer stores is what stands. */
  const unoffered = new WeakSet<Lease>();

  /** A `set` or `commit`, and what it tells about the record that stands. */
  const offered = async (
    lease: Lease,
    response: CachedResponse,
    ttlMs: number,
    offer: () => Promise<SetResult>,
  ): Promise<SetResult> => {
    // A later offer is answered `stored` as well, but what stands may be the earlier one, whose reply was lost.
    const first = unoffered.delete(lease);
    // Copied now: once the store has its bytes, the caller may change the response.
    const copy = first ? cached.copy(lease.key, response, performance.now() + ttlMs) : undefined;
    const keep = cached.learning();
    const result = await offer();
    if (result.state === "stored") keep(copy);
    else if (result.winner !== undefined) keep(cached.copy(lease.key, result.winner));
    return result;
  };

  return {
    async get(key) {
      const known = cached.find(key);
      if (known !== undefined) return known;
      const keep = cached.learning();
      const response = await store.get(key);
      if (response !== undefined) keep(cached.copy(key, response));
      return response;
    },

    async lock(key, fingerprint, leaseMs) {
      const known = cached.find(key);
      if (known !== undefined) return { state: "completed", response: known };
      const keep = cached.learning();
      const result = await store.lock(key, fingerprint, leaseMs);
      if (result.state === "completed") keep(cached.copy(key, result.response));
      else if (result.state === "acquired") unoffered.add(result.lease);
      return result;
    },

    extend: async (lease, leaseMs) => await store.extend(lease, leaseMs),

    set: async (lease, response, ttlMs) =>
      await offered(lease, response, ttlMs, () => store.set(lease, response, ttlMs)),

    ...(typeof store.commit === "function" &&
      ({
        commit: async (lease, response, ttlMs, writes) =>
          await offered(lease, response, ttlMs, () =>
            (store.commit as Commit)(lease, response, ttlMs, writes),
          ),
      } satisfies Pick<Store, "commit">)),

    unlock: async (lease) => {
      await store.unlock(lease);
    },

    async delete(key) {
      try {
        return await store.delete(key);
      } finally {
        // It may have been heard even where it failed; and whoever read the record meanwhile must not bring it back.
        cached.forget(key);
      }
    },

    async close() {
      cached.clear();
      await store.close?.();
    },
  };
}

type Commit = NonNullable<Store["commit"]>;

function parse(store: Store, options: LocalCacheOptions | undefined): CacheLimits {
  const missing = VERBS.filter(
    (verb) => typeof (store as Store | undefined)?.[verb] !== "function",
  );
  if (missing.length > 0) {
    throw new OptionsError("withLocalCache", [`the store lacks ${missing.join(", ")}`]);
  }
  return parseOptions<CacheLimits>("withLocalCache", options, {
    maxEntries: integer(10_000, 1, MOST_ENTRIES),
    maxBytes: integer(16 * 2 ** 20, LEAST_BYTES, Number.MAX_SAFE_INTEGER),
  });
}
