/**
 * What the kit tells whoever listens, by `node:diagnostics_channel`: free while nobody does. Keys in messages are
 * the hashed ones that stores see; messages hold no raw key, body, header or credential.
 *
 * - `tracing:idempotency-kit:request:*` (TracingChannel): one keyed request, {@link RequestTrace}
 * - `tracing:idempotency-kit:handler:*` (TracingChannel): one run of a handler, {@link HandlerTrace}
 * - `tracing:idempotency-kit:store:*` (TracingChannel): one store call, {@link StoreTrace}
 * - `idempotency-kit:event`: what an operator may have to know, {@link IdempotencyEvent}
 *
 * @example
 * import { subscribe } from "node:diagnostics_channel";
 * subscribe("idempotency-kit:event", (event) => console.warn(event));
 */
import { channel, tracingChannel, type TracingChannel } from "node:diagnostics_channel";
import type { ErrorCode } from "./errors.js";
import type { TombstoneReason } from "./store.js";

export const REQUEST_CHANNEL = "idempotency-kit:request";
export const HANDLER_CHANNEL = "idempotency-kit:handler";
export const STORE_CHANNEL = "idempotency-kit:store";
export const EVENT_CHANNEL = "idempotency-kit:event";

/** How one keyed request was answered. */
export type RequestOutcome =
  /** The handler ran, its response (or a tombstone) was stored, then sent. */
  | "executed"
  /** The handler ran; its response was not to be stored, and the key is free again. */
  | "released"
  /** The stored response was sent; the handler did not run, or ran and lost its lease to the winner. */
  | "replayed"
  /** Answered with an error of the kit, see `code`. */
  | "refused"
  /** The handler threw; the key is free again. */
  | "failed"
  /** The store failed and the options asked to execute all the same. */
  | "unprotected";

/** Context of the request channel. `outcome`, `code` and `durationMs` are there from `asyncStart` on. */
export interface RequestTrace {
  readonly key: string;
  outcome?: RequestOutcome;
  code?: ErrorCode;
  durationMs?: number;
}

/** Context of the handler channel. `durationMs` is there from `asyncStart` on: until the handler has ended its answer. */
export interface HandlerTrace {
  readonly key: string;
  durationMs?: number;
}

/** Context of the store channel. `outcome` and `durationMs` are there from `asyncStart` on. */
export interface StoreTrace {
  readonly operation: "lock" | "extend" | "set" | "commit" | "unlock";
  readonly key: string;
  outcome?: string;
  durationMs?: number;
}

/**
 * Why a lease was lost: somebody else holds the key, no renewal got through in time, `maxHandlingMs` was over, or the store
 * let the key go before its time (a clock was set, data was lost, an operator deleted it).
 */
export type LeaseLostReason = "taken" | "expired" | "max-handling" | "lapsed";

export type IdempotencyEvent = { readonly key: string } & (
  | { readonly type: "lease-lost"; readonly reason: LeaseLostReason }
  /** This execution follows one whose lease ran out: the handler may have run before. */
  | { readonly type: "takeover" }
  /** A renewal failed; it is tried again until the lease is over. */
  | { readonly type: "renewal-failed"; readonly error: unknown }
  /** The key was given up after an execution: a retry executes again. */
  | { readonly type: "released"; readonly reason: "handler-failed" | "not-to-store" }
  | { readonly type: "release-failed"; readonly error: unknown }
  | { readonly type: "tombstoned"; readonly reason: TombstoneReason }
  /** The response could not be stored; it is held in memory and offered again. */
  | { readonly type: "response-pending"; readonly error: unknown }
  | { readonly type: "response-settled"; readonly state: "stored" | "lost" }
  /** A held response was given up unstored: once the lease is over, a retry executes again. */
  | { readonly type: "response-given-up"; readonly error: unknown }
  | { readonly type: "unprotected"; readonly error: unknown }
  /** A function given as an option threw; its default was used. */
  | { readonly type: "hook-failed"; readonly hook: string; readonly error: unknown }
);

const events = channel(EVENT_CHANNEL);
const requests = tracingChannel<RequestTrace, RequestTrace>(REQUEST_CHANNEL);
const handlers = tracingChannel<HandlerTrace, HandlerTrace>(HANDLER_CHANNEL);
const storeCalls = tracingChannel<StoreTrace, StoreTrace>(STORE_CHANNEL);

export function emit(event: IdempotencyEvent): void {
  if (events.hasSubscribers) events.publish(event);
}

/** Runs one request under the request channel; `describe` fills the context from its outcome. */
export function traceRequest<T>(
  key: string,
  run: () => Promise<T>,
  describe: (outcome: T) => Pick<RequestTrace, "outcome" | "code">,
): Promise<T> {
  return trace<T, RequestTrace>(requests, { key }, run, describe);
}

/** Runs a handler under the handler channel. */
export function traceHandler<T>(key: string, run: () => Promise<T>): Promise<T> {
  return trace<T, HandlerTrace>(handlers, { key }, run, () => ({}));
}

/** Runs one store call under the store channel. */
export function traceStore<T>(
  operation: StoreTrace["operation"],
  key: string,
  run: () => Promise<T>,
  describe: (result: T) => Pick<StoreTrace, "outcome">,
): Promise<T> {
  return trace<T, StoreTrace>(storeCalls, { operation, key }, run, describe);
}

function trace<T, C extends { durationMs?: number }>(
  traced: TracingChannel<C, C>,
  context: C,
  run: () => Promise<T>,
  describe: (result: T) => Partial<C>,
): Promise<T> {
  if (!traced.hasSubscribers) return run();
  const startedAt = performance.now();
  const timed = async (): Promise<T> => {
    try {
      const result = await run();
      Object.assign(context, describe(result));
      return result;
    } finally {
      context.durationMs = performance.now() - startedAt;
    }
  };
  return traced.tracePromise(timed, context);
}
