/** One attempt: the same bytes each time, and a response that counts when it is there as a whole. */
import { IdempotencyError } from "../errors.js";
import { readUpTo } from "../streams.js";

export interface Repeatable {
  /** All of the request but its body, which is used up. */
  readonly request: Request;
  readonly body: Blob | undefined;
}

export interface AttemptOptions {
  readonly attemptTimeoutMs: number;
  readonly maxResponseBytes: number;
  readonly fetch: (request: Request) => Promise<Response>;
}

export type Attempt =
  | { readonly response: Response; readonly error?: undefined }
  | { readonly response?: undefined; readonly error: unknown };

/**
 * Takes the body out of a request, whatever it was given as: a stream can be read only once, a form would be sent with
 * another boundary each time, and a buffer may be changed meanwhile.
 *
 * @throws {IdempotencyError} `BODY_TOO_LARGE`.
 */
export async function bodyOf(request: Request, maxBytes: number): Promise<Blob | undefined> {
  if (request.method === "GET" || request.method === "HEAD") return undefined;
  // Some browsers have no `body` of requests, nor streams to send: there, what is sent is in memory already.
  const parts =
    request.body instanceof ReadableStream
      ? await readUpTo(maxBytes, request.body)
      : [await request.arrayBuffer()];
  // A blob, because nobody can change it, and because Node 20 detaches a buffer that is sent when it is redirected.
  const body = parts && new Blob(parts);
  if (body !== undefined && body.size <= maxBytes) return body;
  throw new IdempotencyError(
    "BODY_TOO_LARGE",
    `The request body has more than ${maxBytes} bytes, and would have to be kept to be sent again. ` +
      "Nothing was sent. Raise maxBodyBytes, or send it without retries.",
  );
}

/** Sends the request once; never rejects. */
export async function tryOnce(
  { request, body }: Repeatable,
  leftMs: number,
  { attemptTimeoutMs, maxResponseBytes, fetch }: AttemptOptions,
): Promise<Attempt> {
  const limitMs = Math.min(attemptTimeoutMs, leftMs);
  const limit = new AbortController();
  const timer = setTimeout(() => limit.abort(timedOut(limitMs)), limitMs);
  try {
    const signal = AbortSignal.any([request.signal, limit.signal]);
    const response = await fetch(
      new Request(request, body === undefined ? { signal } : { signal, body }),
    );
    await arrival(response, maxResponseBytes);
    return { response };
  } catch (error) {
    return { error };
  } finally {
    // What is still to come of a longer response has the caller's time, not this attempt's.
    clearTimeout(timer);
  }
}

/** Resolves when the whole body is there, or too much of it to wait for. Rejects where it was cut short. */
async function arrival(response: Response, maxBytes: number): Promise<void> {
  const isStream = /^text\/event-stream\b/i.test(response.headers.get("Content-Type") ?? "");
  if (maxBytes === 0 || isStream || response.body === null) return;
  // What is read of the copy stays to be read of the response.
  const copy = response.clone().body;
  if (copy !== null) await readUpTo(maxBytes, copy);
}

function timedOut(ms: number): DOMException {
  return new DOMException(`No response within ${Math.round(ms)} ms.`, "TimeoutError");
}
