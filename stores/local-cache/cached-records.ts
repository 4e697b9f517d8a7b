/** Copies of completed records in this process, bounded, and never older than a `delete` that this process made. */
import type { CachedResponse } from "../../src/store.js";
import { Entries, type RecordEntry } from "../memory/entries.js";
import { isLive, LARGEST_SHARE, recordEntry, responseOf } from "../memory/frames.js";

export interface CacheLimits {
  /** How many records are kept. Default: `10_000`. */
  readonly maxEntries: number;
  /** How many bytes they may take, with what an entry costs besides. Default: `16_777_216`, 16 MiB. */
  readonly maxBytes: number;
}

/** Keeps what a store answered, unless anything was forgotten since the store was asked. */
export type Keep = (copy: RecordEntry | undefined) => void;

export class CachedRecords {
  readonly #limits: CacheLimits;
  #entries: Entries;
  /** Counts what was forgotten: an answer that was on its way meanwhile is not kept. */
  #forgettings = 0;

  constructor(limits: CacheLimits) {
    this.#limits = limits;
    this.#entries = this.#empty();
  }

  /** A copy of its own for each caller. */
  find(key: string): CachedResponse | undefined {
    const entry = this.#recordAt(key);
    if (entry === undefined) return undefined;
    if (isLive(entry)) {
      const response = responseOf(entry);
      // The wall clock as well: it goes on while the machine sleeps, and other machines go by it.
      if (response.expiresAt > Date.now()) {
        this.#entries.touch(entry);
        return response;
      }
    }
    this.#entries.drop(entry);
    return undefined;
  }

  /**
   * A copy to keep. The earlier of both ends counts: who asks the store once too often loses nothing.
   *
   * @param until What the store was told, on the `performance.now()` clock.
   */
  copy(key: string, response: CachedResponse, until = Number.POSITIVE_INFINITY) {
    const end = Math.min(until, performance.now() + response.expiresAt - Date.now());
    const entry = entryOf(key, response, end);
    return entry && entry.bytes <= this.#limits.maxBytes * LARGEST_SHARE ? entry : undefined;
  }

  /** To call before the store is asked: what its answer proves is for the function that this gives. */
  learning(): Keep {
    const forgettings = this.#forgettings;
    return (copy) => {
      if (copy !== undefined && forgettings === this.#forgettings) this.#keep(copy);
    };
  }

  forget(key: string): void {
    this.#forgettings += 1;
    const entry = this.#recordAt(key);
    if (entry !== undefined) this.#entries.drop(entry);
  }

  clear(): void {
    this.#forgettings += 1;
    this.#entries = this.#empty();
  }

  #empty(): Entries {
    return new Entries({ ...this.#limits, evicted: () => undefined });
  }

  #recordAt(key: string): RecordEntry | undefined {
    const entry = this.#entries.at(key);
    return entry?.kind === "record" ? entry : undefined;
  }

  #keep(copy: RecordEntry): void {
    const now = performance.now();
    const former = this.#recordAt(copy.key);
    if (former !== undefined) this.#entries.drop(former);
    this.#entries.reap(now);
    if (this.#entries.makeRoom(copy.bytes, now)) this.#entries.add(copy);
  }
}

/** What the store keeps and no frame can hold is left to the store. */
function entryOf(key: string, response: CachedResponse, until: number): RecordEntry | undefined {
  try {
    return recordEntry({ key, token: "" }, response, until);
  } catch {
    return undefined;
  }
}
