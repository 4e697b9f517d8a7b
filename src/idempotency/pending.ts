/**
 * Responses whose `set` failed: held in memory and offered to the store again, lease renewed, until they are
 * stored, lost or given up. So a short outage after the handler ran costs a 503 and a replay, not a second execution.
 */
import { emit } from "../events.js";
import type { GuardedStore } from "./guarded-store.js";
import type { CachedResponse, Lease } from "../store.js";

/** Offers per lease: often enough that one success in a lease's time keeps the key from a successor. */
const OFFERS_PER_LEASE = 6;

/** What a held response takes besides its body, so that empty ones are bounded too. */
const ENTRY_BYTES = 1_024;

export interface PendingResponse {
  readonly lease: Lease;
  readonly response: CachedResponse;
  /** When to give it up, on the `performance.now()` clock. */
  readonly until: number;
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
  readonly #offers = new Set<Promise<void>>();
  #bytes = 0;

  constructor(options: PendingOptions) {
    this.#options = options;
  }

  /** Takes a response over, or gives it up at once where the bound is reached. Never throws. */
  hold(pending: PendingResponse): void {
    const { key } = pending.lease;
    const size = pending.response.body.byteLength + ENTRY_BYTES;
    if (this.#bytes + size > this.#options.maxPendingBytes) {
      emit({ type: "response-given-up", key, error: pending.error });
      return;
    }
    emit({ type: "response-pending", key, error: pending.error });
    this.#bytes += size;
    const offer = this.#offer(pending).finally(() => {
      this.#bytes -= size;
      this.#offers.delete(offer);
    });
    this.#offers.add(offer);
  }

  /** Resolves when nothing is held any more. */
  async settled(): Promise<void> {
    while (this.#offers.size > 0) await Promise.all(this.#offers);
  }

  async #offer({ lease, response, until, error: first }: PendingResponse): Promise<void> {
    const { store, leaseMs } = this.#options;
    let error = first;
    while (performance.now() < until) {
      // The timer keeps the process alive on purpose: what it waits for exists nowhere else.
      await new Promise((resolve) => setTimeout(resolve, leaseMs / OFFERS_PER_LEASE));
      try {
        // Whether the lease still holds decides nothing, nor whether that could be told: `set` succeeds on an empty key
        // too, and knows its own record. Where a quorum's node has that record already, a renewal may never succeed.
        await store.extend(lease, leaseMs).catch(() => false);
        const ttlMs = response.expiresAt - Date.now();
        if (ttlMs <= 0) break;
        const { state } = await store.set(lease, response, ttlMs);
        // Whoever came meanwhile has executed again: that is never silent (P2).
        if (state === "lost") emit({ type: "lease-lost", key: lease.key, reason: "taken" });
        emit({ type: "response-settled", key: lease.key, state });
        return;
      } catch (failure) {
        error = failure;
      }
    }
    emit({ type: "response-given-up", key: lease.key, error });
  }
}
