/** The options of the protocol, shared by every front door. */
import {
  callback,
  custom,
  durationMs,
  integer,
  oneOf,
  type Given,
  type OptionRules,
} from "../options.js";
import type { RecordedResponse } from "../store.js";
import { LEAST_LEASE_MS } from "./deadline.js";

/** How long a response is replayed unless `ttlMs` says otherwise: a day, as Stripe and the original Go package do. */
export const DEFAULT_TTL_MS = 24 * 60 * 60 * 1000;

/** Ten years: beyond that a TTL is a mistake of units. */
const MAX_TTL_MS = 10 * 365 * DEFAULT_TTL_MS;
export const DEFAULT_LEASE_MS = 10_000;
const DEFAULT_STORE_TIMEOUT_MS = 2_000;
/** Renewals are sent every third of a lease, so a store call must be over by then. */
const STORE_CALLS_PER_LEASE = 3;

export interface ProtocolOptions {
  /** How long a response is replayed, in milliseconds. Default: `86_400_000`, a day. */
  readonly ttlMs: number;
  /**
   * How long a key stays blocked when its holder dies, in milliseconds; renewed every third of it while a handler
   * runs. Make it longer than any pause of your process (garbage collection, CPU-bound work). Default: `10_000`.
   */
  readonly leaseMs: number;
  /** Limit of one store call, in milliseconds; at most a third of `leaseMs`. Default: `2_000`, or a third of `leaseMs` where that is less. */
  readonly storeTimeoutMs: number;
  /** Renewals end after this time, in milliseconds: the longest that a handler may hold its key. Default: `300_000`. */
  readonly maxHandlingMs: number;
  /** A duplicate of a running request: 409 at once, or with `"wait"` its response, once that is there. Default: `"reject"`. */
  readonly onConflict: "reject" | "wait";
  /** With `onConflict: "wait"`: the longest wait before the 409, in milliseconds. Default: `10_000`. */
  readonly maxWaitMs: number;
  /** With `onConflict: "wait"`: how many requests may wait at once; further ones get the 409. Default: `1_000`. */
  readonly maxWaiters: number;
  /**
   * Whether a response is a result to keep. `false` frees the key, and a retry executes again.
   * Default: everything but 408, 425, 429 and 5xx; `storeServerErrors` keeps 5xx too.
   */
  readonly shouldStore: (response: RecordedResponse) => boolean;
  /** Response headers to keep that are withheld by default: `set-cookie`, `www-authenticate`. Default: `[]`. */
  readonly storeHeaders: readonly string[];
  /**
   * When the store cannot be asked: 503, or with `"execute"` run the handler without protection, so that an outage of
   * the store may execute requests twice. Default: `"refuse"`.
   */
  readonly onStoreFailure: "refuse" | "execute";
  /** Bytes of responses held in memory while the store refuses them; beyond, they are given up. Default: `16_777_216`, 16 MiB. */
  readonly maxPendingBytes: number;
}

/** Kept are results: not "try again" (408, 425, 429) and not failures of the server, which a retry may cure. */
export function shouldStoreByDefault({ statusCode }: RecordedResponse): boolean {
  return statusCode < 500 && !RETRYABLE.has(statusCode);
}

/** For `shouldStore`: keeps 5xx as well, as Stripe does, so that a failed request is never executed again. */
export function storeServerErrors({ statusCode }: RecordedResponse): boolean {
  return !RETRYABLE.has(statusCode);
}

const RETRYABLE: ReadonlySet<number> = new Set([408, 425, 429]);

/** Rules to parse {@link ProtocolOptions} with; `storeTimeoutMs` depends on the lease that is given. */
export function protocolRules(given?: Given<ProtocolOptions>): OptionRules<ProtocolOptions> {
  // What is no number is for its own rule to refuse.
  const leaseMs = Number.isFinite(given?.leaseMs) ? (given?.leaseMs as number) : DEFAULT_LEASE_MS;
  const storeTimeoutMs = Math.min(
    DEFAULT_STORE_TIMEOUT_MS,
    Math.floor(leaseMs / STORE_CALLS_PER_LEASE),
  );
  return {
    ttlMs: integer(DEFAULT_TTL_MS, 1, MAX_TTL_MS),
    leaseMs: durationMs(DEFAULT_LEASE_MS, LEAST_LEASE_MS),
    storeTimeoutMs: durationMs(storeTimeoutMs),
    maxHandlingMs: durationMs(300_000),
    onConflict: oneOf("reject", ["reject", "wait"]),
    maxWaitMs: durationMs(10_000),
    maxWaiters: integer(1_000, 1, 1_000_000),
    shouldStore: callback(shouldStoreByDefault),
    storeHeaders: custom<readonly string[]>(
      [],
      "an array of header names",
      (names) => Array.isArray(names) && names.every((name) => typeof name === "string"),
    ),
    onStoreFailure: oneOf("refuse", ["refuse", "execute"]),
    maxPendingBytes: integer(16 * 1024 * 1024, 0, Number.MAX_SAFE_INTEGER),
  };
}

/** What must hold between the options; yields what does not. */
export function* protocolRelations(options: ProtocolOptions): Iterable<string> {
  const { leaseMs, ttlMs, storeTimeoutMs, maxHandlingMs } = options;
  if (leaseMs > ttlMs) yield `leaseMs (${leaseMs}) must not exceed ttlMs (${ttlMs})`;
  if (leaseMs > maxHandlingMs) {
    yield `leaseMs (${leaseMs}) must not exceed maxHandlingMs (${maxHandlingMs})`;
  }
  if (storeTimeoutMs * STORE_CALLS_PER_LEASE > leaseMs) {
    yield (
      `storeTimeoutMs (${storeTimeoutMs}) must be at most a third of leaseMs (${leaseMs}), ` +
        "or a renewal could outlast the lease"
    );
  }
}
