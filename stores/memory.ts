/** The store for one process: tests, development, and services that run as a single one. */
import { randomUUID } from "node:crypto";
import { LockFailedError, StoreUnavailableError } from "../src/errors.js";
import { callback, integer, parseOptions, type Given } from "../src/options.js";
import type { CachedResponse, Lease, LockResult, SetResult, Store } from "../src/store.js";
import { Entries, type Entry, type HeldEntry, type RecordEntry } from "./memory/entries.js";
import { ENTRY_BYTES, isLive, LARGEST_SHARE, recordEntry, responseOf } from "./memory/frames.js";

/** A response that the store could not keep although its time was not over. */
export interface Eviction {
  readonly key: string;
  /** Until when it was promised to be replayed, in epoch milliseconds. */
  readonly expiresAt: number;
  /**
   * `nothing`: the key is open again, and a retry would be executed a second time.
   * `tombstone`: the response was too large; a retry is told that the request was processed.
   */
  readonly kept: "nothing" | "tombstone";
}

interface MemorySettings {
  /**
   * How many keys are kept. Default: `100_000`, with a TTL of a day one new key a second.
   */
  readonly maxEntries: number;
  /**
   * How many bytes are kept: keys, records, and what an entry costs besides. More than an eighth of it in one response is
   * too large. Default: `134_217_728`, 128 MiB: as many responses as `maxEntries` lets in, at 1 KiB each.
   */
  readonly maxBytes: number;
  /**
   * Told of every live record that had to go. Each of them breaks a promise (its request may be executed
   * again), so count them, and raise the bounds or shorten `ttlMs` until there are none. What it throws becomes a
   * process warning. Default: a process warning for the first of either kind.
   */
  readonly onEvict: ((eviction: Eviction) => void) | undefined;
}

export type MemoryOptions = Given<MemorySettings>;

export interface MemorySize {
  readonly entries: number;
  readonly bytes: number;
}

export interface MemoryStore extends Store {
  /** What is kept now, expired entries included that no write has reaped yet. */
  readonly size: MemorySize;
  /** Drops everything. Later calls throw `StoreUnavailableError`. */
  close(): Promise<void>;
}

// V8's Map ends there.
const MOST_ENTRIES = 2 ** 24;
// Room for a dozen leases with the longest keys and fingerprints.
const LEAST_BYTES = 16 * 1024;
// At most what a tombstone's frame has besides token and fingerprint.
const TOMBSTONE_BYTES = 32;
const FULL = "The memory store is full of live leases. Raise maxEntries or maxBytes.";

/**
 * Keeps leases and records in this process: they end with it, and other processes see nothing of them.
 *
 * Bounded: expired entries go first, then the records that were written longest ago, never a live lease. Where live
 * leases take all the room, `lock` throws `LockFailedError`. **Evicting a live record opens its key again**, see `onEvict`.
 * Time is the monotonic clock's, so that changes of the system time neither prolong nor end anything. There
 * are no timers: expiry is checked on access, and every write reaps a few expired entries.
 *
 * @example
 * ```ts
 * import { idempotency } from "idempotency-kit";
 * import { memoryStore } from "idempotency-kit/memory";
 *
 * const store = memoryStore({ onEvict: ({ key, kept }) => console.error(`evicted ${key}, kept ${kept}`) });
 * const protect = idempotency(store);
 * ```
 *
 * @throws {OptionsError} for options that cannot work.
 */
export function memoryStore(options?: MemoryOptions): MemoryStore {
  const settings = parseOptions<MemorySettings>("memoryStore", options, {
    maxEntries: integer(100_000, 1, MOST_ENTRIES),
    maxBytes: integer(128 * 2 ** 20, LEAST_BYTES, Number.MAX_SAFE_INTEGER),
    onEvict: callback<MemorySettings["onEvict"]>(undefined),
  });
  const report = reporter(settings.onEvict ?? warnOnce());
  const evicted = (entry: RecordEntry): void => {
    report({ key: entry.key, expiresAt: responseOf(entry).expiresAt, kept: "nothing" });
  };
  const entries = new Entries({ ...settings, evicted });
  let shelf: Shelf | undefined = { entries, largest: settings.maxBytes * LARGEST_SHARE, report };
  const open = (): Shelf => {
    if (shelf === undefined) throw new StoreUnavailableError("The memory store is closed.");
    return shelf;
  };
  return {
    // Each verb is one synchronous call and by that atomic; `async` turns its exceptions into rejections.
    get: async (key) => read(open(), key),
    lock: async (key, fingerprint, leaseMs) => claim(open(), key, fingerprint, leaseMs),
    extend: async (lease, leaseMs) => renew(open(), lease, leaseMs),
    set: async (lease, response, ttlMs) => complete(open(), lease, response, ttlMs),
    unlock: async (lease) => release(open(), lease),
    delete: async (key) => clear(open(), key),
    close: async () => {
      shelf = undefined;
    },
    get size() {
      return { entries: shelf?.entries.count ?? 0, bytes: shelf?.entries.bytes ?? 0 };
    },
  };
}

interface Shelf {
  readonly entries: Entries;
  /** How much one record may count. */
  readonly largest: number;
  readonly report: (eviction: Eviction) => void;
}

function read({ entries }: Shelf, key: string): CachedResponse | undefined {
  const entry = entries.at(key);
  return entry?.kind === "record" && isLive(entry) ? responseOf(entry) : undefined;
}

function claim({ entries }: Shelf, key: string, fingerprint: string, leaseMs: number): LockResult {
  const now = performance.now();
  const entry = entries.at(key);
  if (entry !== undefined && isLive(entry, now)) {
    if (entry.kind === "record") return { state: "completed", response: responseOf(entry) };
    const retryAfterMs = Math.ceil(entry.until - now);
    return { state: "in-progress", fingerprint: entry.fingerprint, retryAfterMs };
  }
  if (entry !== undefined) entries.drop(entry);
  entries.reap(now);
  const token = randomUUID();
  // It counts like its tombstone, so that however full the store is, that at least can be kept in its place.
  const bytes = ENTRY_BYTES + key.length + TOMBSTONE_BYTES + token.length + fingerprint.length;
  if (!entries.makeRoom(bytes, now)) {
    throw new LockFailedError(FULL, { retryAfterMs: entries.nextLeaseEndsInMs(now) });
  }
  const until = now + leaseMs;
  entries.add({ kind: "held", key, token, fingerprint, bytes, until, place: 0 });
  const lease = { key, token, fingerprint, validUntil: until };
  return entry?.kind === "held"
    ? { state: "acquired", lease, takeover: true }
    : { state: "acquired", lease };
}

function renew({ entries }: Shelf, lease: Lease, leaseMs: number): boolean {
  const entry = heldUnder(lease, entries);
  if (entry !== undefined) entries.renew(entry, performance.now() + leaseMs);
  return entry !== undefined;
}

function complete(shelf: Shelf, lease: Lease, response: CachedResponse, ttlMs: number): SetResult {
  const { entries, largest, report } = shelf;
  const now = performance.now();
  const entry = entries.at(lease.key);
  const standing = entry && isLive(entry, now) ? entry : undefined;
  if (standing?.token === lease.token && standing.kind === "record") return { state: "stored" };
  if (standing !== undefined && standing.token !== lease.token) {
    return standing.kind === "record"
      ? { state: "lost", winner: responseOf(standing) }
      : { state: "lost" };
  }
  const until = now + ttlMs;
  const record = recordEntry(lease, response, until);
  if (entry !== undefined) entries.drop(entry);
  entries.reap(now);
  // Many others would lose their protection for a larger one; a tombstone only costs it its replay.
  if (record.bytes <= largest && entries.makeRoom(record.bytes, now)) {
    entries.add(record);
    return storedOver(standing);
  }
  const tombstone = recordEntry(lease, tombstoneOf(response), until);
  // What was just held has room for its tombstone. An empty key among live leases only may have none.
  if (!entries.makeRoom(tombstone.bytes, now) && standing === undefined) {
    throw new StoreUnavailableError(FULL, { retryAfterMs: entries.nextLeaseEndsInMs(now) });
  }
  entries.add(tombstone);
  report({ key: lease.key, expiresAt: response.expiresAt, kept: "tombstone" });
  return storedOver(standing);
}

function storedOver(standing: Entry | undefined): SetResult {
  return standing === undefined ? { state: "stored", lapsed: true } : { state: "stored" };
}

function release({ entries }: Shelf, lease: Lease): void {
  const entry = heldUnder(lease, entries);
  if (entry !== undefined) entries.drop(entry);
}

function clear({ entries }: Shelf, key: string): boolean {
  const entry = entries.at(key);
  if (entry === undefined) return false;
  entries.drop(entry);
  return isLive(entry);
}

function heldUnder(lease: Lease, entries: Entries): HeldEntry | undefined {
  const entry = entries.at(lease.key);
  return entry?.kind === "held" && entry.token === lease.token && isLive(entry) ? entry : undefined;
}

function tombstoneOf(response: CachedResponse): CachedResponse {
  const { statusCode, timestamp, expiresAt, fingerprint, tombstone = "too-large" } = response;
  const body = new Uint8Array();
  return { statusCode, headers: [], body, timestamp, expiresAt, fingerprint, tombstone };
}

/** Calls back once the verb is done, so that whatever the callback does or throws finds the store consistent. */
function reporter(onEvict: (eviction: Eviction) => void): (eviction: Eviction) => void {
  return (eviction) => {
    queueMicrotask(() => {
      try {
        onEvict(eviction);
      } catch (error) {
        process.emitWarning(error instanceof Error ? error : String(error));
      }
    });
  };
}

function warnOnce(): (eviction: Eviction) => void {
  const warned = new Set<Eviction["kept"]>();
  return ({ kept }) => {
    if (warned.has(kept)) return;
    warned.add(kept);
    const what =
      kept === "nothing"
        ? "The memory store is full and evicted a live record: its request may be executed again."
        : "The memory store had no room for a response and kept a tombstone: it is not replayed.";
    const advice = "Raise maxEntries or maxBytes, or shorten ttlMs; onEvict reports each.";
    process.emitWarning(`${what} ${advice}`, { code: "IDEMPOTENCY_MEMORY_FULL" });
  };
}
