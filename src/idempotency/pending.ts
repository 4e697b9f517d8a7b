/**
 * Responses whose `set` failed: held in memory and offered to the store again, lease renewed, until they are
 * stored, lost or given up. So a short outage after the handler ran costs a 503 and a replay, not a second execution.
 */
import { isRefused } from "../errors.js";
import { emit } from "../events.js";
import { keep, type GuardedStore, type Keeping } from "./guarded-store.js";
import type { SetResult } from "../store.js";
import { LEAST_LEASE_MS, leaseUntil } from "./deadline.js";

/** Offers per lease: often enough that one success in a lease's time keeps the key from a successor. */
const OFFERS_PER_LEASE = 6;

/** What a held response takes besides its body, so that empty ones are bounded too. */
const ENTRY_BYTES = 1_024;

export interface PendingResponse extends Keeping {
  /** When to give it up, on the `performance.now()` clock. */
  readonly until: number;
  /** The end of this process, on the same clock: the last offer comes before it. */
  readonly deadline: number;
  /** Why it is not stored yet. */
  readonly error: unknown;
}

export interface PendingOptions {
  readonly store: GuardedStore;
  readonly leaseMs: number;
  readonly maxPendingBytes: number;
}

export class PendingResponses {
  readonly #options: PendingOptions;
  readonly #offers = new Set<Promise<unknown>>();
  #bytes = 0;

  constructor(options: PendingOptions) {
    this.#options = options;
  }

  /**
   * Takes a response over, or gives it up at once where the bound is reached. Never throws.
   *
   * @returns What became of it in the end; `undefined`: given up.
   */
  async hold(pending: PendingResponse): Promise<SetResult | undefined> {
    const { key } = pending.lease;
    const size = pending.response.body.byteLength + ENTRY_BYTES;
    if (this.#bytes + size > this.#options.maxPendingBytes) {
      emit({ type: "response-given-up", key, error: pending.error });
      return undefined;
    }
    emit({ type: "response-pending", key, error: pending.error });
    this.#bytes += size;
    const offer = this.#offer(pending).finally(() => {
      this.#bytes -= size;
      this.#offers.delete(offer);
    });
    this.#offers.add(offer);
    return await offer;
  }

  /** Resolves when nothing is held any more. */
  async settled(): Promise<void> {
    while (this.#offers.size > 0) await Promise.all(this.#offers);
  }

  async #offer(pending: PendingResponse): Promise<SetResult | undefined> {
    const { lease, response, deadline } = pending;
    const { store } = this.#options;
    const until = Math.min(pending.until, deadline - LEAST_LEASE_MS);
    let { error } = pending;
    while (performance.now() < until) {
      // The timer keeps the process alive on purpose: what it waits for exists nowhere else.
      await new Promise((resolve) =>
        setTimeout(resolve, this.#leaseMs(deadline) / OFFERS_PER_LEASE),
      );
      try {
        // Whether the lease still holds decides nothing: `set` succeeds on an empty key too, and knows its own record.
        await store.extend(lease, this.#leaseMs(deadline), deadline);
        const ttlMs = response.expiresAt - Date.now();
        if (ttlMs <= 0) break;
        const result = await keep(store, pending, ttlMs, deadline);
        const { state } = result;
        // Whoever came meanwhile has executed again: that is never silent (P2).
        if (state === "lost") emit({ type: "lease-lost", key: lease.key, reason: "taken" });
        emit({ type: "response-settled", key: lease.key, state });
        return result;
      } catch (failure) {
        error = failure;
        if (isRefused(failure)) break;
      }
    }
    emit({ type: "response-given-up", key: lease.key, error });
    return undefined;
  }

  #leaseMs(deadline: number): number {
    return leaseUntil(deadline, this.#options.leaseMs);
  }
}
