/** What is worth another attempt, and when. */

/** A later attempt would be told the same. */
const LASTING: ReadonlySet<number> = new Set([501, 505]);
/** Said of this moment, not of the request: RFC 9110 section 15.5.9, RFC 8470 section 5.2, RFC 6585 section 4. */
const PASSING: ReadonlySet<number> = new Set([408, 425, 429]);

/**
 * 409 means that the first request still runs where it says when to ask again; otherwise it is an answer. After 500 the
 * key is free (or the answer was stored, and comes as a replay): the request is run again, or answered.
 */
export function isToRetry({ status, headers }: Response): boolean {
  // A stored result stays what it is, however often it is asked for.
  if (headers.has("Idempotency-Replayed")) return false;
  if (status === 409) return headers.has("Retry-After");
  return PASSING.has(status) || (status >= 500 && !LASTING.has(status));
}

export interface PauseOptions {
  readonly firstPauseMs: number;
  readonly maxPauseMs: number;
}

/**
 * Until the next attempt. Random between none and all of what grows ("full jitter"), on top of what the server asks
 * for: clients that were sent away together shall not come back together.
 */
export function pauseMs(
  attempts: number,
  response: Response | undefined,
  { firstPauseMs, maxPauseMs }: PauseOptions,
): number {
  const longest = Math.min(maxPauseMs, firstPauseMs * 2 ** (attempts - 1));
  return retryAfterMs(response?.headers) + Math.random() * longest;
}

/** RFC 9110 section 10.2.3: seconds, or a date, which is compared with the clock that set it. */
export function retryAfterMs(headers: Headers | undefined): number {
  const value = headers?.get("Retry-After")?.trim() ?? "";
  if (/^\d+$/.test(value)) return Number(value) * 1_000;
  const now = dateOf(headers?.get("Date")) ?? Date.now();
  return Math.max(0, (dateOf(value) ?? now) - now);
}

function dateOf(text: string | null | undefined): number | undefined {
  const at = Date.parse(text ?? "");
  return Number.isNaN(at) ? undefined : at;
}

/** @throws What the signal is aborted with, at once. */
export function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const over = (): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", over);
      if (signal.aborted) reject(signal.reason);
      else resolve();
    };
    const timer = setTimeout(over, ms);
    signal.addEventListener("abort", over);
    if (signal.aborted) over();
  });
}
