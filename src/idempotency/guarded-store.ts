/** A store as the protocol calls it: every call traced, limited in time, and failing with the kit's own errors. */
import {
  CommitRefusedError,
  type ErrorCode,
  type IdempotencyError,
  OptionsError,
  StoreUnavailableError,
} from "../errors.js";
import { emit, traceStore } from "../events.js";
import type { CachedResponse, Lease, LockResult, SetResult, Store } from "../store.js";
import { callLimitMs } from "./deadline.js";

/** When a client should ask again after a store failure: soon, and not all at the same moment as the outage ends. */
const RETRY_AFTER_OUTAGE_MS = 2_000;

const VERBS = ["lock", "extend", "set", "unlock"] as const;

/**
 * The verbs of the protocol, each with the end of the process that calls. `get` and `delete` are for operators and are
 * not guarded.
 */
export type GuardedStore = {
  readonly [V in (typeof VERBS)[number]]: Guarded<Store[V]>;
} & { readonly commit?: Guarded<Commit> };

type Commit = NonNullable<Store["commit"]>;
type Guarded<Verb extends (...args: never) => unknown> = (
  ...args: [...Parameters<Verb>, deadline: number]
) => ReturnType<Verb>;

/** @throws {OptionsError} for what is not a store. */
export function guardStore(store: Store, timeoutMs: number): GuardedStore {
  const missing = VERBS.filter(
    (verb) => typeof (store as Store | undefined)?.[verb] !== "function",
  );
  if (missing.length > 0) {
    throw new OptionsError("store", [
      `it lacks ${missing.join(", ")}: pass one, for example memoryStore() of idempotency-kit/memory`,
    ]);
  }
  return {
    lock(key: string, fingerprint: string, leaseMs: number, deadline: number): Promise<LockResult> {
      const call = () =>
        limit(
          "lock",
          callLimitMs(deadline, timeoutMs),
          () => store.lock(key, fingerprint, leaseMs),
          (late) => {
            // Nobody waits for this claim any more: left alone, it would block the key for a whole lease.
            if (late.state === "acquired") release(store, late.lease);
          },
        );
      return traceStore("lock", key, call, describeState);
    },

    extend(lease: Lease, leaseMs: number, deadline: number): Promise<boolean> {
      const call = () =>
        limit("extend", callLimitMs(deadline, timeoutMs), () => store.extend(lease, leaseMs));
      return traceStore("extend", lease.key, call, (held) => ({
        outcome: held ? "extended" : "lost",
      }));
    },

    set(
      lease: Lease,
      response: CachedResponse,
      ttlMs: number,
      deadline: number,
    ): Promise<SetResult> {
      const call = () =>
        limit("set", callLimitMs(deadline, timeoutMs), () => store.set(lease, response, ttlMs));
      return traceStore("set", lease.key, call, describeState);
    },

    ...(typeof store.commit === "function" && { commit: guardedCommit(store, timeoutMs) }),

    unlock(lease: Lease, deadline: number): Promise<void> {
      const call = () =>
        limit("unlock", callLimitMs(deadline, timeoutMs), () => store.unlock(lease));
      return traceStore("unlock", lease.key, call, () => ({ outcome: "unlocked" }));
    },
  };
}

function guardedCommit(store: Store, timeoutMs: number): Guarded<Commit> {
  return (lease, response, ttlMs, writes, deadline) => {
    const commit = () => (store.commit as Commit)(lease, response, ttlMs, writes);
    const call = () => limit("commit", callLimitMs(deadline, timeoutMs), commit);
    return traceStore("commit", lease.key, call, describeState);
  };
}

function describeState({ state }: LockResult | SetResult): { readonly outcome: string } {
  return { outcome: state };
}

/** Stores a response, with the handler's own writes where it has some. */
export function keep(
  store: GuardedStore,
  { lease, response, writes }: Keeping,
  ttlMs: number,
  deadline: number,
): Promise<SetResult> {
  if (writes === undefined) return store.set(lease, response, ttlMs, deadline);
  if (store.commit !== undefined) return store.commit(lease, response, ttlMs, writes, deadline);
  const mistake = "this store has no transactions; dynamodbStore() of idempotency-kit/dynamodb has";
  return Promise.reject(new CommitRefusedError(`commitWith: ${mistake}.`, []));
}

/** A response to store; `writes` of the handler's own are committed with it or not at all. */
export interface Keeping {
  readonly lease: Lease;
  readonly response: CachedResponse;
  readonly writes?: readonly unknown[] | undefined;
}

function release(store: Store, lease: Lease): void {
  begun(() => store.unlock(lease)).catch((error: unknown) => {
    emit({ type: "release-failed", key: lease.key, error });
  });
}

/** A store of somebody else's may throw where it should reject, or answer where it should promise. */
function begun<T>(call: () => Promise<T>): Promise<T> {
  try {
    return Promise.resolve(call());
  } catch (error) {
    return Promise.reject(error);
  }
}

/** Waits for a store call no longer than `timeoutMs`; `onLate` gets what arrives after that. */
function limit<T>(
  operation: string,
  timeoutMs: number,
  call: () => Promise<T>,
  onLate?: (result: T) => void,
): Promise<T> {
  return new Promise((resolve, reject) => {
    let state: "waiting" | "settled" | "expired" = "waiting";
    let timer: NodeJS.Timeout | undefined;
    const settle = () => {
      if (state === "waiting") state = "settled";
      clearTimeout(timer);
    };
    begun(call).then(
      (result) => {
        if (state === "expired") onLate?.(result);
        settle();
        return resolve(result);
      },
      (error: unknown) => {
        settle();
        const failed = () => unavailable(operation, "failed, see the cause for why", error);
        reject(isKitError(error) ? error : failed());
      },
    );
    // A store in this process has answered by then, and a timer would cost more than its answer.
    process.nextTick(() => {
      if (state !== "waiting") return;
      timer = setTimeout(() => {
        state = "expired";
        reject(unavailable(operation, `did not answer within ${timeoutMs} ms`));
      }, timeoutMs);
    });
  });
}

function unavailable(operation: string, what: string, cause?: unknown): StoreUnavailableError {
  return new StoreUnavailableError(
    `The store's ${operation} ${what}. Whether it took effect is unknown.`,
    { cause, retryAfterMs: RETRY_AFTER_OUTAGE_MS },
  );
}

/** Errors by which stores speak to the protocol; anything else is a failure of theirs. */
const SPOKEN: ReadonlySet<unknown> = new Set<ErrorCode>([
  "LOCK_FAILED",
  "STORE_UNAVAILABLE",
  "COMMIT_REFUSED",
]);

function isKitError(error: unknown): boolean {
  return SPOKEN.has((error as Partial<IdempotencyError> | undefined)?.code);
}
