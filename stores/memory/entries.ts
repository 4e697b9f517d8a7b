/** The memory store's entries: who stands at which key, who expires first, who is oldest, and how much there is. */
import { ExpiryHeap, type Expiring } from "./expiry-heap.js";

interface EntryBase extends Expiring {
  readonly key: string;
  readonly token: string;
  /** What it counts against `maxBytes`. */
  readonly bytes: number;
}

export interface HeldEntry extends EntryBase {
  readonly kind: "held";
  readonly fingerprint: string;
}

export interface RecordEntry extends EntryBase {
  readonly kind: "record";
  /** Small ones as text of single bytes: V8 keeps that in its heap, where a buffer is memory of its own to look after. */
  readonly frame: Buffer | string;
  older?: RecordEntry | undefined;
  newer?: RecordEntry | undefined;
}

export type Entry = HeldEntry | RecordEntry;

export interface EntryLimits {
  readonly maxEntries: number;
  readonly maxBytes: number;
  /** Told of each live record that had to go. */
  readonly evicted: (entry: RecordEntry) => void;
}

// More than the one entry that a write adds, so that what a burst left behind shrinks; few enough not to be felt.
const REAPED_PER_WRITE = 4;
// An expired lease is remembered this long where there is room: whoever claims the key is then told of a takeover.
const LEASE_MEMORY_MS = 60 * 60 * 1000;

export class Entries {
  readonly #byKey = new Map<string, Entry>();
  readonly #leases = new ExpiryHeap<HeldEntry>();
  readonly #records = new ExpiryHeap<RecordEntry>();
  readonly #limits: EntryLimits;
  // A list by age, not the order of a Map: its first live entry is found by walking over all that were deleted.
  #oldest: RecordEntry | undefined;
  #newest: RecordEntry | undefined;
  #bytes = 0;
  #leaseBytes = 0;

  constructor(limits: EntryLimits) {
    this.#limits = limits;
  }

  get count(): number {
    return this.#byKey.size;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** What stands at the key, be it expired or not. */
  at(key: string): Entry | undefined {
    return this.#byKey.get(key);
  }

  nextLeaseEndsInMs(now: number): number | undefined {
    const lease = this.#leases.first();
    return lease && Math.ceil(lease.until - now);
  }

  /** To an empty key, after `makeRoom`. */
  add(entry: Entry): void {
    this.#byKey.set(entry.key, entry);
    this.#bytes += entry.bytes;
    if (entry.kind === "held") {
      this.#leaseBytes += entry.bytes;
      this.#leases.add(entry);
    } else {
      this.#records.add(entry);
      this.#link(this.#newest, entry);
      this.#newest = entry;
    }
  }

  drop(entry: Entry): void {
    this.#byKey.delete(entry.key);
    this.#bytes -= entry.bytes;
    if (entry.kind === "held") {
      this.#leaseBytes -= entry.bytes;
      this.#leases.remove(entry);
    } else {
      this.#records.remove(entry);
      if (this.#newest === entry) this.#newest = entry.older;
      this.#link(entry.older, entry.newer);
    }
  }

  /** Makes it the last that goes when room is needed. */
  touch(entry: RecordEntry): void {
    if (entry === this.#newest) return;
    this.#link(entry.older, entry.newer);
    this.#link(this.#newest, entry);
    entry.newer = undefined;
    this.#newest = entry;
  }

  renew(entry: HeldEntry, until: number): void {
    entry.until = until;
    this.#leases.moved(entry);
  }

  /** Drops a few of the expired entries. Called on every write, it keeps memory flat without a timer. */
  reap(now: number): void {
    for (let left = REAPED_PER_WRITE; left > 0; left -= 1) {
      const gone = this.#expired(now, now - LEASE_MEMORY_MS);
      if (gone === undefined) return;
      this.drop(gone);
    }
  }

  /**
   * Makes room for one entry: what has expired goes first, then the records written longest ago. Not those that
   * would expire first: among day-long records a short-lived one would go at once, and retries come soon or never.
   *
   * @returns `false` if live leases leave too little; then no record was evicted in vain.
   */
  makeRoom(bytes: number, now: number): boolean {
    const { maxEntries, maxBytes, evicted } = this.#limits;
    while (this.count >= maxEntries || this.#bytes + bytes > maxBytes) {
      const expired = this.#expired(now, now);
      const oldest = this.#oldest;
      if (expired !== undefined) {
        this.drop(expired);
      } else if (oldest !== undefined && this.#leaseBytes + bytes <= maxBytes) {
        this.drop(oldest);
        evicted(oldest);
      } else {
        return false;
      }
    }
    return true;
  }

  #expired(recordsAt: number, leasesAt: number): Entry | undefined {
    const record = this.#records.first();
    if (record !== undefined && record.until <= recordsAt) return record;
    const lease = this.#leases.first();
    return lease !== undefined && lease.until <= leasesAt ? lease : undefined;
  }

  #link(older: RecordEntry | undefined, newer: RecordEntry | undefined): void {
    if (older === undefined) this.#oldest = newer;
    else older.newer = newer;
    if (newer !== undefined) newer.older = older;
  }
}
