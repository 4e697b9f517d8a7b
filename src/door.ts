/** What all front doors for HTTP requests do alike, between the request and the protocol, and between it and the answer. */
import { validateHeaderName, validateHeaderValue } from "node:http";
import type { DoorOptions } from "./door/options.js";
import { IdempotencyError, type ErrorCode } from "./errors.js";
import { emit } from "./events.js";
import { storableHeaders } from "./idempotency/headers.js";
import { parseKey } from "./key.js";
import { ERROR_CODES, problemFor } from "./problem.js";
import type { CachedResponse, HeaderFields } from "./store.js";

const ALL_FIELDS: ReadonlySet<string> = new Set(["set-cookie", "www-authenticate"]);

/**
 * The key in the lines of its header field.
 *
 * @throws {IdempotencyError} `KEY_MISSING` where there is none, `KEY_INVALID` where it is not one.
 */
export function clientKey(
  fieldLines: readonly string[],
  { headerName, maxKeyLength }: Pick<DoorOptions<never>, "headerName" | "maxKeyLength">,
): string {
  if (fieldLines.length === 0) {
    throw new IdempotencyError(
      "KEY_MISSING",
      `This operation is idempotent and it requires correct usage of ${headerName}: send one, unique to the request.`,
    );
  }
  const parsed = parseKey(fieldLines, maxKeyLength);
  if (!parsed.ok) throw new IdempotencyError("KEY_INVALID", parsed.detail);
  return parsed.key;
}

export function bodyTooLarge(maxBodyBytes: number): IdempotencyError {
  return new IdempotencyError(
    "BODY_TOO_LARGE",
    `The request body may have ${maxBodyBytes} bytes at most.`,
  );
}

/** By code, not by class: hooks may throw errors of another copy of this package. */
export function isKitError(error: unknown): error is IdempotencyError {
  return (ERROR_CODES as readonly unknown[]).includes((error as { code?: ErrorCode } | null)?.code);
}

/** Tells of refusals that are failures of the server. */
export function tellOfRefusal<Original>(
  options: DoorOptions<Original>,
  error: IdempotencyError,
  original: Original,
): void {
  if (problemFor(error, options).statusCode >= 500) tellOfFailure(options, error, original);
}

export function tellOfFailure<Original>(
  { onError }: Pick<DoorOptions<Original>, "onError">,
  error: unknown,
  original: Original,
): void {
  try {
    onError(error, original);
  } catch (failure) {
    // The client gets its answer all the same.
    process.emitWarning(failure instanceof Error ? failure : String(failure));
  }
}

/** What `onReplay` adds to a replay: short of what cannot be sent, for a replay does not fail for it. */
export function replayFields<Original>(
  { onReplay }: Pick<DoorOptions<Original>, "onReplay">,
  key: string,
  response: CachedResponse,
  original: Original,
): HeaderFields {
  try {
    const added = onReplay(response, original);
    if (added === undefined) return [];
    return storableHeaders(Object.entries(added).filter(isSendable), ALL_FIELDS);
  } catch (error) {
    // The answer is the stored one with or without what the hook would add.
    emit({ type: "hook-failed", key, hook: "onReplay", error });
    return [];
  }
}

function isSendable([name, value]: readonly [string, string]): boolean {
  try {
    validateHeaderName(name);
    validateHeaderValue(name, value);
    return true;
  } catch {
    return false;
  }
}
