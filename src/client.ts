/**
 * `idempotency-kit/client`: a `fetch` that repeats a request until it has its answer. Runs in browsers too: it needs `fetch`,
 * `AbortSignal.any` and, for a key of its own, `crypto.randomUUID`.
 */
import { bodyOf, tryOnce } from "./client/attempt.js";
import { NoResponseError, type FailedAttempt } from "./client/no-response.js";
import { isToRetry, pause, pauseMs } from "./client/pauses.js";
import { callback, custom, durationMs, integer, parseOptions, type Given } from "./options.js";

export { NoResponseError, type FailedAttempt } from "./client/no-response.js";

export interface ClientOptions {
  /** Header field that carries the key. Default: `"Idempotency-Key"`. */
  readonly headerName: string;
  /** How long all attempts and the pauses between them may take, in milliseconds. Default: `60_000`. */
  readonly deadlineMs: number;
  /**
   * How long one attempt may take until its response is there, in milliseconds. A handler that takes longer goes on: the
   * next attempts find it running (409), and then its result. Default: `15_000`.
   */
  readonly attemptTimeoutMs: number;
  /** How many attempts there are, the first one included. Default: `10`. */
  readonly maxAttempts: number;
  /** Longest pause after the first attempt, in milliseconds; it doubles with each further one. Default: `200`. */
  readonly firstPauseMs: number;
  /** Longest pause after any attempt, in milliseconds, besides what `Retry-After` asks for. Default: `10_000`. */
  readonly maxPauseMs: number;
  /** Longest request body, in bytes: it is kept to be sent again. Default: `1_048_576`, 1 MiB. */
  readonly maxBodyBytes: number;
  /**
   * Up to this many bytes, a response counts when the whole body is there, so that one cut short is asked for again. A longer
   * one, and any event stream, is handed over as it comes; with 0 that is every one. Default: `1_048_576`, 1 MiB.
   */
  readonly maxResponseBytes: number;
  /** What sends each attempt: a proxy, a dispatcher, logging. Default: the global `fetch`. */
  readonly fetch: (request: Request) => Promise<Response>;
}

/** Like the global `fetch`, in what it takes and gives. */
export type RetryingFetch = (
  input: string | URL | Request,
  init?: RequestInit,
) => Promise<Response>;

const MIB = 1024 * 1024;
/** RFC 9110 section 9.2.1: nothing that a repetition could do twice, so they need no key. */
const SAFE_METHODS: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS"]);
const FIELD_NAME = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;

/**
 * Makes a `fetch` that may be called as if networks were reliable, for servers that honour the key: with any other server, a
 * repeated request may take effect twice.
 *
 * A call has one key and one body for all of its attempts. The key is a new UUID, as a string of RFC 9651, unless the call
 * brings the header: bring one, and remember it, where a later call may have to finish the work of this one.
 * Tried again are network errors, time-outs, 408, 425, 429, 5xx (but not 501 and 505), and 409 with `Retry-After`; a
 * replayed response never is. Pauses are random and grow, on top of what `Retry-After` asks for. The caller's `signal` ends it all.
 *
 * @returns A function that answers with the last response, and throws
 * - what the caller's signal was aborted with,
 * - `NoResponseError` where the last attempt had no response: whether the request took effect is unknown,
 * - `IdempotencyError` with code `BODY_TOO_LARGE` for a body that is longer than `maxBodyBytes`: nothing was sent.
 * @throws {OptionsError} naming every mistake.
 * @example
 * ```ts
 * import { retryingFetch } from "idempotency-kit/client";
 *
 * const send = retryingFetch({ deadlineMs: 30_000 });
 * const response = await send("https://shop.example/payments", { method: "POST", body: '{"amount":1}' });
 * ```
 */
export function retryingFetch(options?: Given<ClientOptions>): RetryingFetch {
  const settings = parse(options);

  return async function fetchWithRetries(input, init) {
    const request = new Request(input, init);
    const { headers, method, signal } = request;
    if (!SAFE_METHODS.has(method) && !headers.has(settings.headerName)) {
      headers.set(settings.headerName, `"${crypto.randomUUID()}"`);
    }
    const body = await bodyOf(request, settings.maxBodyBytes);
    const startedAt = performance.now();
    const leftMs = (): number => settings.deadlineMs - (performance.now() - startedAt);
    const failed: FailedAttempt[] = [];
    for (;;) {
      const attempt = await tryOnce({ request, body }, leftMs(), settings);
      signal.throwIfAborted();
      const { response } = attempt;
      if (response !== undefined && !isToRetry(response)) return response;
      failed.push({ status: response?.status, error: attempt.error });
      const waitMs = pauseMs(failed.length, response, settings);
      if (failed.length >= settings.maxAttempts || waitMs >= leftMs()) {
        if (response !== undefined) return response;
        throw new NoResponseError(failed, performance.now() - startedAt);
      }
      // Unread, it would keep its connection.
      response?.body?.cancel().catch(() => undefined);
      await pause(waitMs, signal);
    }
  };
}

function parse(options: Given<ClientOptions> | undefined): ClientOptions {
  return parseOptions<ClientOptions>(
    "retryingFetch",
    options,
    {
      headerName: custom(
        "Idempotency-Key",
        "the name of a header field",
        (name) => typeof name === "string" && FIELD_NAME.test(name),
      ),
      deadlineMs: durationMs(60_000),
      attemptTimeoutMs: durationMs(15_000),
      maxAttempts: integer(10, 1, 1_000),
      firstPauseMs: durationMs(200, 0),
      maxPauseMs: durationMs(10_000, 0),
      maxBodyBytes: integer(MIB, 0, Number.MAX_SAFE_INTEGER),
      maxResponseBytes: integer(MIB, 0, Number.MAX_SAFE_INTEGER),
      // Looked up for each call: tests and polyfills replace it.
      fetch: callback((request) => globalThis.fetch(request)),
    },
    function* mistakes({ firstPauseMs, maxPauseMs }) {
      if (firstPauseMs > maxPauseMs) {
        yield `firstPauseMs (${firstPauseMs}) must not exceed maxPauseMs (${maxPauseMs})`;
      }
    },
  );
}
