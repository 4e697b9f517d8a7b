/** Why the protocol refuses to answer from a handler: its errors, in words for clients. */
import { IdempotencyError, LockFailedError, RequestInProgressError } from "../errors.js";
import type { CachedResponse } from "../store.js";

/** A holder may finish any moment, whatever is left of its lease: the finest step that `Retry-After` can say. */
const RETRY_SOON_MS = 1_000;

export function inProgress(leaseLeftMs: number): IdempotencyError {
  return new RequestInProgressError(undefined, {
    retryAfterMs: Math.min(leaseLeftMs, RETRY_SOON_MS),
  });
}

export function keyReused(): IdempotencyError {
  return new IdempotencyError(
    "KEY_REUSED",
    "This key was first used with another request (method, URL or body). Use a new key for a new request.",
  );
}

export function notKept({
  tombstone = "not-storable",
  statusCode,
}: CachedResponse): IdempotencyError {
  const why = {
    "too-large": "it was too large",
    streamed: "it was streamed",
    "not-storable": "it could not be stored",
  }[tombstone];
  return new IdempotencyError(
    "RESPONSE_NOT_KEPT",
    `The request with this key was processed with status ${statusCode}, but its response was not kept: ${why}. ` +
      "It is not run again; do not retry it.",
  );
}

export function leaseLost(cause?: unknown): IdempotencyError {
  return new IdempotencyError(
    "LEASE_LOST",
    "The server lost its hold on this key while it handled the request, and another attempt may be running. " +
      "Retry with the same key to learn the result.",
    { cause, retryAfterMs: RETRY_SOON_MS },
  );
}

export function noTimeLeft(): IdempotencyError {
  return new LockFailedError(
    "Too little time is left in this invocation to handle a request: nothing was executed. " +
      "Retry with the same key, and give the function a longer timeout.",
    { retryAfterMs: RETRY_SOON_MS },
  );
}

export function draining(): IdempotencyError {
  return new IdempotencyError(
    "DRAINING",
    "This server is shutting down. Retry with the same key.",
    {
      retryAfterMs: RETRY_SOON_MS,
    },
  );
}

/** Store failures keep their code, also where a second copy of this package threw them, and say when to retry. */
export function asStoreError(error: unknown): IdempotencyError {
  if (error instanceof IdempotencyError && error.retryAfterMs !== undefined) return error;
  const { code, message, retryAfterMs = RETRY_SOON_MS } = error as IdempotencyError;
  return new IdempotencyError(code, message, { cause: error, retryAfterMs });
}
