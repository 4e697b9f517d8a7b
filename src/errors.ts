/**
 * Every error of the kit, each with a stable `code`. Compare codes, not classes: two copies of the package in one
 * process have two sets of classes but the same codes.
 */

export type ErrorCode =
  | "KEY_MISSING"
  | "KEY_INVALID"
  | "KEY_REUSED"
  | "SCOPE_MISSING"
  | "REQUEST_IN_PROGRESS"
  | "RESPONSE_NOT_KEPT"
  | "BODY_TOO_LARGE"
  | "BODY_UNREADABLE"
  | "EVENT_UNKNOWN"
  | "HANDLER_FAILED"
  | "LEASE_LOST"
  | "COMMIT_REFUSED"
  | "LOCK_FAILED"
  | "STORE_UNAVAILABLE"
  | "DRAINING"
  | "NOT_FOUND"
  | "OPTIONS_INVALID";

export interface IdempotencyErrorOptions {
  readonly cause?: unknown;
  /** When asking again makes sense, in milliseconds; absent where waiting does not help. */
  readonly retryAfterMs?: number | undefined;
}

export class IdempotencyError extends Error {
  readonly code: ErrorCode;
  readonly retryAfterMs: number | undefined;

  constructor(code: ErrorCode, message: string, options: IdempotencyErrorOptions = {}) {
    super(message, "cause" in options ? { cause: options.cause } : undefined);
    this.name = new.target.name;
    this.code = code;
    this.retryAfterMs = options.retryAfterMs;
  }
}

/** The first request with this key still runs. */
export class RequestInProgressError extends IdempotencyError {
  constructor(
    message = "A request with this key is in progress.",
    options?: IdempotencyErrorOptions,
  ) {
    super("REQUEST_IN_PROGRESS", message, options);
  }
}

/** The store answered, but could not grant or keep a lease. Nothing was executed. */
export class LockFailedError extends IdempotencyError {
  constructor(message: string, options?: IdempotencyErrorOptions) {
    super("LOCK_FAILED", message, options);
  }
}

/** The store did not answer in time or refused: whether it acted is unknown. */
export class StoreUnavailableError extends IdempotencyError {
  constructor(message: string, options?: IdempotencyErrorOptions) {
    super("STORE_UNAVAILABLE", message, options);
  }
}

/** The handler's own writes were refused, and with them its result: nothing of either is stored. */
export class CommitRefusedError extends IdempotencyError {
  /** One for each write, in order, as the store gives them; `undefined` for a write that was not the reason. */
  readonly reasons: readonly unknown[];

  constructor(message: string, reasons: readonly unknown[], options?: IdempotencyErrorOptions) {
    super("COMMIT_REFUSED", message, options);
    this.reasons = reasons;
  }
}

/** By code, not by class: a store may use another copy of this package. */
export function isRefused(error: unknown): error is CommitRefusedError {
  return (error as Partial<IdempotencyError> | undefined)?.code === "COMMIT_REFUSED";
}

/** There is no record under this key. */
export class NotFoundError extends IdempotencyError {
  constructor(message = "No record is stored under this key.", options?: IdempotencyErrorOptions) {
    super("NOT_FOUND", message, options);
  }
}

/** Options that cannot work; the message lists every mistake. Thrown at construction only. */
export class OptionsError extends IdempotencyError {
  readonly mistakes: readonly string[];

  constructor(subject: string, mistakes: readonly string[]) {
    super("OPTIONS_INVALID", `${subject}: ${mistakes.join("; ")}`);
    this.mistakes = mistakes;
  }
}
