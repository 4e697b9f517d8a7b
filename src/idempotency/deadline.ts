/**
 * The end of a process that knows it, on the `performance.now()` clock: a Lambda invocation's. `Infinity` for all others.
 */

/** The shortest lease: with less time left, a process claims nothing. As long as the option `leaseMs` may be short. */
export const LEAST_LEASE_MS = 100;

/** What a process keeps of its last moments to say that the store did not answer. */
const ANSWER_MS = 50;

/**
 * A lease from now, in whole milliseconds, that ends with the process if not before: a killed process renews nothing, and
 * its retry should not wait. Stores count from when a call arrives, so the lease never ends before the process.
 */
export function leaseUntil(deadline: number, leaseMs: number): number {
  return Math.max(1, Math.min(leaseMs, Math.ceil(deadline - performance.now())));
}

/** How long a call to a store may take. */
export function callLimitMs(deadline: number, timeoutMs: number): number {
  return Math.max(1, Math.min(timeoutMs, Math.floor(deadline - performance.now() - ANSWER_MS)));
}
