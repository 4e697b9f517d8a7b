/**
 * DynamoDB's time, as its replies tell it. Leases and records end at moments that all processes compare, and a process
 * whose own clock is wrong must neither reclaim what is live nor write leases that have ended before they begin.
 */

/** The `Date` header has whole seconds. */
const PRECISION_MS = 1_000;

/**
 * How far wall clock and monotonic clock may drift apart before what was learnt no longer counts: beyond it somebody
 * set the clock, or the process was frozen, as Lambda does between invocations.
 */
const MAX_STEP_MS = 250;

/**
 * A reply that took longer says too little: half of that may be its error. One that was on its way while the process was
 * frozen, or its clock was set, is among those.
 */
const MAX_ROUND_TRIP_MS = 2_000;

export class ServerClock {
  /** What to add to this process's wall clock. */
  #offsetMs = 0;
  /** Wall clock minus monotonic clock when the offset was learnt. */
  #base: number | undefined;

  /** Whether replies have told the time since this process's own clock was last touched. */
  get known(): boolean {
    return this.#base !== undefined && Math.abs(base() - this.#base) < MAX_STEP_MS;
  }

  /** Epoch milliseconds. Before any reply, and where replies have no date, this process's own clock. */
  now(): number {
    return Date.now() + this.#offsetMs;
  }

  /** There is nothing better to be had. */
  trustOwn(): void {
    this.#base = base();
  }

  /**
   * Learns from the date of a reply to what was sent at `sentAt`, both by this process's clock. The server wrote it
   * between then and now, so each reply bounds the offset on two sides; the estimate moves no more than the bounds
   * demand, and within a few replies it is as exact as a round trip is short.
   */
  hear(date: string | undefined, sentAt: number): void {
    const told = Date.parse(date ?? "");
    const roundTripMs = Date.now() - sentAt;
    if (Number.isNaN(told) || roundTripMs < 0 || roundTripMs > MAX_ROUND_TRIP_MS) return;
    const low = told - Date.now();
    const high = told + PRECISION_MS - sentAt;
    const before = this.known ? this.#offsetMs : (low + high) / 2;
    this.#offsetMs = Math.min(Math.max(before, low), high);
    this.#base = base();
  }
}

function base(): number {
  return Date.now() - performance.now();
}
