/** The second argument of a Lambda handler: how much time is left, and the key that it runs under. */
import type { KeyContext } from "../idempotency/context.js";

/** What a handler finds as `idempotency` on its context; it commits what it would return. */
export type IdempotencyContext = KeyContext<unknown>;

/** What is read of the context that Lambda passes. Without the function, nothing ends the invocation. */
export interface LambdaContext {
  getRemainingTimeInMillis?(): number;
}

/** What a handler finds on its context while it runs under a key; without one, `idempotency` is absent. */
export interface IdempotentContext extends LambdaContext {
  readonly idempotency?: IdempotencyContext;
}

export function isLambdaContext(value: unknown): value is Required<LambdaContext> {
  return (
    typeof (value as LambdaContext | undefined | null)?.getRemainingTimeInMillis === "function"
  );
}

/** When the invocation ends, on the `performance.now()` clock, which goes on whatever happens to the time of day. */
export function invocationDeadline(context: unknown): number | undefined {
  if (!isLambdaContext(context)) return undefined;
  const remainingMs = context.getRemainingTimeInMillis();
  return Number.isFinite(remainingMs) ? performance.now() + remainingMs : undefined;
}

/**
 * The context with `idempotency`, derived from the caller's, which stays as it is: the accessors that Lambda's own has
 * still work, and what a handler sets stays in its invocation.
 */
export function withIdempotency(context: unknown, idempotency: IdempotencyContext): object {
  return Object.create(Object(context ?? {}) as object, {
    idempotency: { value: idempotency, enumerable: true, configurable: true, writable: true },
  }) as object;
}
