/** Keeps a lease alive while its holder works, and knows when it is lost. */
import { IdempotencyError } from "../errors.js";
import { emit, type LeaseLostReason } from "../events.js";
import type { Lease } from "../store.js";
import { leaseUntil } from "./deadline.js";

/** Renewals per lease: two may fail in a row before the lease is over. */
const BEATS_PER_LEASE = 3;
/** A failed renewal is tried again this many times as fast. */
const RETRIES_PER_BEAT = 4;

/** A lease that ends this close to the process is not renewed for the rest. */
const LEAST_GAIN_MS = 10;

/** The same for every lease of a protocol. */
export interface HeartbeatSettings {
  readonly leaseMs: number;
  /** Renewals end this long after the start: a handler that never ends must not hold its key for ever. */
  readonly maxHandlingMs: number;
  readonly extend: (lease: Lease, leaseMs: number, deadline: number) => Promise<boolean>;
}

/**
 * A renewal that answers `false` loses the lease at once. One that fails is tried again until the last proven
 * lease is over, and one that is answered later than that proves nothing: between the two somebody else may have
 * executed and gone. A lost lease stays lost.
 */
export class Heartbeat {
  /** No lease reaches beyond this end of the process, on the `performance.now()` clock. */
  readonly deadline: number;
  /** When renewals end at the latest, on the same clock. */
  readonly endsAt: number;
  readonly #lease: Lease;
  readonly #settings: HeartbeatSettings;
  #validUntil: number;
  #timer: NodeJS.Timeout | undefined;
  #renewal: Promise<void> | undefined;
  /** While nothing must be renewed: for good, or while the caller's own store call decides. */
  #stopped = false;
  #lost: LeaseLostReason | undefined;
  #controller: AbortController | undefined;

  constructor(lease: Lease, deadline: number, settings: HeartbeatSettings) {
    this.#lease = lease;
    this.#settings = settings;
    this.deadline = deadline;
    this.endsAt = Math.min(performance.now() + settings.maxHandlingMs, deadline);
    this.#validUntil = lease.validUntil;
    this.#beatIn(settings.leaseMs / BEATS_PER_LEASE);
  }

  /** Whether the lease is known to be lost, and said so. */
  get lost(): boolean {
    return this.#lost !== undefined;
  }

  /** Whether the lease is proven to hold right now, timers late or not. */
  get held(): boolean {
    return this.#lost === undefined && performance.now() < this.#validUntil;
  }

  /** Aborts when the lease is lost, with an `IdempotencyError` of code `LEASE_LOST` as its reason. */
  get signal(): AbortSignal {
    this.#controller ??= new AbortController();
    if (this.#lost !== undefined) this.#controller.abort(leaseLostError(this.#lost));
    return this.#controller.signal;
  }

  /** Ends the renewals; resolves when none is on its way, so that nothing crosses the caller's next store call. */
  stop(): Promise<void> | undefined {
    this.#stopped = true;
    clearTimeout(this.#timer);
    if (this.#renewal !== undefined) return this.#renewal.then(() => this.check());
    this.check();
    return undefined;
  }

  /**
   * Says that the lease is lost where its time is over: for what is done under it after `stop()`.
   *
   * @param lapsed Whether the store had let it go, whatever time it is here.
   */
  check(lapsed = false): void {
    if (performance.now() >= this.#validUntil) this.#lose("expired");
    else if (lapsed) this.#lose("lapsed");
  }

  /** Goes on after a `stop` whose store call left the lease as it was. */
  resume(): void {
    this.#stopped = false;
    this.#beatIn(0);
  }

  #beatIn(delayMs: number): void {
    const leftMs = this.#validUntil - performance.now();
    // A held-up process only has to find its lease over; it does not keep the process alive.
    this.#timer = setTimeout(() => this.#beat(), Math.max(0, Math.min(delayMs, leftMs))).unref();
  }

  #beat(): void {
    const now = performance.now();
    if (now >= this.#validUntil) return this.#lose(now >= this.endsAt ? "max-handling" : "expired");
    if (now >= this.endsAt || this.#reachesDeadline()) return this.#beatIn(this.#validUntil - now);
    this.#renewal = this.#renew(now);
  }

  #reachesDeadline(): boolean {
    return this.#validUntil > this.deadline - LEAST_GAIN_MS;
  }

  async #renew(startedAt: number): Promise<void> {
    const [lease, { extend }] = [this.#lease, this.#settings];
    const leaseMs = leaseUntil(this.deadline, this.#settings.leaseMs);
    let nextMs = leaseMs / BEATS_PER_LEASE;
    try {
      const held = await extend(lease, leaseMs, this.deadline);
      // After stop() the caller's own store call decides, and an `extend` that crossed it proves nothing.
      if (!held && !this.#stopped) return this.#lose("taken");
      if (held && performance.now() < this.#validUntil) this.#validUntil = startedAt + leaseMs;
    } catch (error) {
      emit({ type: "renewal-failed", key: lease.key, error });
      nextMs /= RETRIES_PER_BEAT;
    }
    if (!this.#stopped) this.#beatIn(nextMs);
  }

  #lose(reason: LeaseLostReason): void {
    if (this.#lost !== undefined) return;
    this.#lost = reason;
    emit({ type: "lease-lost", key: this.#lease.key, reason });
    this.#controller?.abort(leaseLostError(reason));
  }
}

function leaseLostError(reason: LeaseLostReason): IdempotencyError {
  const why: Record<LeaseLostReason, string> = {
    taken: "the store says that it is no longer held",
    expired: "no renewal got through in time",
    lapsed: "the store let it go before its time",
    "max-handling": "the handler ran longer than maxHandlingMs, or than its Lambda invocation may",
  };
  return new IdempotencyError(
    "LEASE_LOST",
    `The lease on this idempotency key is lost: ${why[reason]}. Another request may execute now.`,
  );
}
