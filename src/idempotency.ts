/**
 * The protocol: claim the key, execute or replay, store before answering. It knows neither HTTP servers nor
 * particular stores; the front doors (http, Lambda) bring requests to it and carry its outcomes out.
 */
import { isRefused, type IdempotencyError } from "./errors.js";
import { emit, traceHandler, traceRequest } from "./events.js";
import { LEAST_LEASE_MS, leaseUntil } from "./idempotency/deadline.js";
import { LeasedExecution, type Commit } from "./idempotency/execution.js";
import { guardStore, keep, type GuardedStore } from "./idempotency/guarded-store.js";
import { storableHeaders } from "./idempotency/headers.js";
import { Heartbeat, type HeartbeatSettings } from "./idempotency/heartbeat.js";
import { PendingResponses } from "./idempotency/pending.js";
import type { ProtocolOptions } from "./idempotency/options.js";
import { answerFrom, refused, traceOf, type Outcome } from "./idempotency/outcome.js";
import {
  asStoreError,
  draining,
  inProgress,
  keyReused,
  leaseLost,
  noTimeLeft,
} from "./idempotency/refusals.js";
import type {
  CachedResponse,
  Lease,
  LockResult,
  RecordedResponse,
  SetResult,
  Store,
} from "./store.js";
import { Waiters } from "./idempotency/waiters.js";

export type { Outcome } from "./idempotency/outcome.js";

/** Runs the handler at most once and resolves to what it recorded. */
export type Execute = (execution: LeasedExecution) => Promise<RecordedResponse>;

/** One keyed request, its key and fingerprint already hashed. */
export interface Attempt {
  readonly key: string;
  readonly fingerprint: string;
  /** Aborts when nobody waits for the answer any more: ends waiting, never an execution. */
  readonly signal?: AbortSignal | undefined;
  /**
   * Until when this process surely runs, on the `performance.now()` clock; absent where nobody ends it. A Lambda
   * invocation is killed then, and frozen as soon as it has answered: so no lease reaches beyond it, no call to the
   * store is waited for beyond it, and when `run` resolves nothing of the request is left to do.
   */
  readonly deadline?: number | undefined;
}

export class Protocol {
  readonly #store: GuardedStore;
  readonly #options: ProtocolOptions;
  readonly #pending: PendingResponses;
  readonly #waiters: Waiters;
  readonly #keptHeaders: ReadonlySet<string>;
  readonly #heartbeats: HeartbeatSettings;
  #running = 0;
  #whenIdle: (() => void)[] = [];
  #draining = false;

  constructor(store: Store, options: ProtocolOptions) {
    this.#options = options;
    this.#store = guardStore(store, options.storeTimeoutMs);
    this.#pending = new PendingResponses({ ...options, store: this.#store });
    this.#waiters = new Waiters(options);
    this.#keptHeaders = new Set(options.storeHeaders.map((name) => name.toLowerCase()));
    const { leaseMs, maxHandlingMs } = options;
    this.#heartbeats = { leaseMs, maxHandlingMs, extend: this.#store.extend };
  }

  /** Answers one request. Never rejects. */
  async run(attempt: Attempt, execute: Execute): Promise<Outcome> {
    if (this.#draining) return refused(draining());
    this.#running += 1;
    try {
      return await traceRequest(attempt.key, () => this.#answer(attempt, execute), traceOf);
    } finally {
      this.#running -= 1;
      if (this.#running === 0) for (const resolve of this.#whenIdle.splice(0)) resolve();
    }
  }

  /** Takes no new keys (503) and resolves when every running request is answered and every response settled. */
  async drain(): Promise<void> {
    this.#draining = true;
    if (this.#running > 0) await new Promise<void>((resolve) => this.#whenIdle.push(resolve));
    await this.#pending.settled();
  }

  async #answer(attempt: Attempt, execute: Execute): Promise<Outcome> {
    let claim: LockResult | undefined;
    try {
      claim = await this.#claim(attempt);
    } catch (error) {
      return this.#unclaimed(attempt.key, asStoreError(error));
    }
    if (claim === undefined) return refused(noTimeLeft());
    switch (claim.state) {
      case "completed":
        return answerFrom(claim.response, attempt.fingerprint);
      case "in-progress":
        return refused(
          claim.fingerprint === undefined || claim.fingerprint === attempt.fingerprint
            ? inProgress(claim.retryAfterMs)
            : keyReused(),
        );
      case "acquired":
        if (claim.takeover === true) emit({ type: "takeover", key: attempt.key });
        return await this.#execute(claim.lease, deadlineOf(attempt), execute);
      default:
        throw new Error(
          `Bug! The store answered lock with ${JSON.stringify(claim satisfies never)}`,
        );
    }
  }

  /** Locks; with `onConflict: 'wait'`, again and again while the same request runs elsewhere. `undefined`: no time to. */
  #claim(attempt: Attempt): Promise<LockResult> | undefined {
    const { key, fingerprint, signal } = attempt;
    const { leaseMs, onConflict } = this.#options;
    const deadline = deadlineOf(attempt);
    const lock = () => this.#store.lock(key, fingerprint, leaseUntil(deadline, leaseMs), deadline);
    // Whoever claims a key just before its process ends only blocks it for the retry.
    const latest = deadline - LEAST_LEASE_MS;
    if (performance.now() > latest) return undefined;
    if (onConflict === "reject") return lock();
    return this.#waiters.until(
      lock,
      (result) =>
        result.state !== "in-progress" || (result.fingerprint ?? fingerprint) !== fingerprint,
      { signal, latest },
    );
  }

  #unclaimed(key: string, error: IdempotencyError): Outcome {
    if (this.#options.onStoreFailure === "refuse") return refused(error);
    emit({ type: "unprotected", key, error });
    return { kind: "unprotected" };
  }

  #execute(lease: Lease, deadline: number, execute: Execute): Promise<Outcome> {
    if (performance.now() >= lease.validUntil) {
      // The claim took longer than the lease it got: executing now could run beside a successor.
      return this.#release(lease, deadline).then(() => refused(leaseLost()));
    }
    const heartbeat = new Heartbeat(lease, deadline, this.#heartbeats);
    return this.#handle(new LeasedExecution(lease, heartbeat, this.#commit), execute);
  }

  readonly #commit: Commit = (execution, writes, recorded) =>
    this.#complete(execution, recorded, writes);

  async #handle(execution: LeasedExecution, execute: Execute): Promise<Outcome> {
    const { lease, heartbeat } = execution;
    const { deadline } = heartbeat;
    let recorded: RecordedResponse;
    try {
      recorded = await traceHandler(lease.key, () => execute(execution));
    } catch (error) {
      const decided = await execution.decision;
      if (decided !== undefined) return decided;
      await heartbeat.stop();
      // Without the lease there is nothing to free, and a successor may have the result: the retry learns it (P5).
      if (heartbeat.lost) return refused(leaseLost(error));
      await this.#release(lease, deadline, "handler-failed");
      return { kind: "failed", error };
    }
    const decided = execution.decision && (await execution.decision);
    if (decided !== undefined) return decided;
    await heartbeat.stop();
    if (!execution.isResult || !this.#isToStore(lease.key, recorded)) {
      await this.#release(lease, deadline, "not-to-store");
      return { kind: "executed", stored: false };
    }
    return await this.#complete(execution, recorded);
  }

  /**
   * Stores before anything is answered (P3), and answers with the winner's response where the lease was lost (P5).
   *
   * @throws {CommitRefusedError} where the handler's own writes were refused; the lease is held on.
   */
  async #complete(
    { lease, heartbeat }: LeasedExecution,
    recorded: RecordedResponse,
    writes?: readonly unknown[],
  ): Promise<Outcome> {
    const { deadline } = heartbeat;
    await heartbeat.stop();
    const response = this.#toStore(lease, recorded);
    const keeping = { lease, response, writes };
    let result: SetResult;
    try {
      result = await keep(this.#store, keeping, this.#options.ttlMs, deadline);
      if (result.state === "lost" && !heartbeat.lost) {
        emit({ type: "lease-lost", key: lease.key, reason: "taken" });
      }
    } catch (error) {
      if (isRefused(error)) {
        heartbeat.resume();
        throw error;
      }
      const settled = this.#pending.hold({ ...keeping, until: heartbeat.endsAt, deadline, error });
      // A process that is frozen once it has answered has to settle it before, and then knows the answer.
      const late = deadline === Infinity ? undefined : await settled;
      if (late === undefined) return refused(asStoreError(error));
      result = late;
    }
    if (result.state === "stored") {
      // It is stored where the key was empty, too: somebody may have executed there and gone (P2).
      heartbeat.check(result.lapsed);
      const reason = response.tombstone;
      if (reason !== undefined) emit({ type: "tombstoned", key: lease.key, reason });
      return { kind: "executed", stored: true, committed: writes && recorded };
    }
    if (result.winner !== undefined) return answerFrom(result.winner, lease.fingerprint);
    return refused(leaseLost());
  }

  #toStore(lease: Lease, recorded: RecordedResponse): CachedResponse {
    const { statusCode, statusMessage, headers, body, trailers, tombstone } = recorded;
    const timestamp = Date.now();
    // Field by field: spreading takes V8 far longer, and this runs for every response.
    const response: { -readonly [K in keyof CachedResponse]: CachedResponse[K] } = {
      statusCode,
      headers: storableHeaders(headers, this.#keptHeaders),
      body,
      timestamp,
      expiresAt: timestamp + this.#options.ttlMs,
      fingerprint: lease.fingerprint,
    };
    if (statusMessage !== undefined) response.statusMessage = statusMessage;
    if (trailers !== undefined) response.trailers = trailers;
    if (tombstone !== undefined) response.tombstone = tombstone;
    return response;
  }

  #isToStore(key: string, recorded: RecordedResponse): boolean {
    try {
      return this.#options.shouldStore(recorded);
    } catch (error) {
      // A broken hook must not make a payment run twice: what ran is stored.
      emit({ type: "hook-failed", key, hook: "shouldStore", error });
      return true;
    }
  }

  async #release(
    lease: Lease,
    deadline: number,
    reason?: "handler-failed" | "not-to-store",
  ): Promise<void> {
    if (reason !== undefined) emit({ type: "released", key: lease.key, reason });
    try {
      await this.#store.unlock(lease, deadline);
    } catch (error) {
      // Not the client's concern: the key is free when the lease is over.
      emit({ type: "release-failed", key: lease.key, error });
    }
  }
}

function deadlineOf({ deadline = Infinity }: Attempt): number {
  return deadline;
}
