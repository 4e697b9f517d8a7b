/** Answers that are there as a whole, on a `http.ServerResponse`: recorded ones, replays and problem documents. */
import { ServerResponse, type IncomingMessage } from "node:http";
import type { Problem } from "../problem.js";
import type { Callback } from "./response-chunks.js";
import { isBodiless, setFields, setStatus, type Status } from "./response-head.js";
import type { CachedResponse, HeaderFields, RecordedResponse } from "../store.js";

/** Up to this length a body is sent as text of single bytes: Node then makes one write of it and the head, not a list. */
const ONE_WRITE_BYTES = 8 * 1_024;

/** How long the rest of a refused body is read and dropped, so that the client gets to read the refusal. */
const LINGER_MS = 1_000;

/**
 * Sends a stored response again. Framing and date are made anew; `extra` fields are added.
 */
export function sendReplay(
  res: ServerResponse,
  response: CachedResponse,
  extra: HeaderFields,
): void {
  if (isAnswered(res)) return;
  const { headers, trailers } = response;
  setFields(res, headers);
  setFields(res, extra);
  res.setHeader("Idempotency-Replayed", "true");
  // A replay is for this client alone; a cache must not take it for the answer to other requests (RFC 9111).
  res.setHeader("Cache-Control", "no-store");
  if (trailers !== undefined) res.addTrailers(trailers as [string, string][]);
  sendWhole(res, response, trailers !== undefined);
}

/** Sends a response as it was recorded, for the first time. */
export function sendRecorded(res: ServerResponse, recorded: RecordedResponse): void {
  if (isAnswered(res)) return;
  setFields(res, recorded.headers);
  sendWhole(res, recorded, false);
}

interface WholeAnswer extends Status {
  readonly body: Uint8Array;
}

/**
 * Sends an answer whose header fields and trailers are set on the response. The head goes out with the body, not before:
 * code outside may have wrapped `write` and `end` to set fields that depend on the body.
 *
 * @param chunked In chunks, which trailers need (RFC 9112 section 7.1.2), instead of with a length.
 */
export function sendWhole(
  res: ServerResponse,
  answer: WholeAnswer,
  chunked: boolean,
  callback?: Callback,
): void {
  const { statusCode, statusMessage, body } = answer;
  const bodiless = isBodiless(res, answer);
  setStatus(res, answer);
  if (!bodiless && !chunked) setLength(res, body);
  // Only as an argument can the reason phrase be empty.
  if (statusMessage === "") res.writeHead(statusCode, "");
  if (bodiless) res.end(callback);
  else if (chunked || res.hasHeader("Content-Disposition")) {
    res.write(body);
    res.end(callback);
  } else if (body.byteLength <= ONE_WRITE_BYTES && isPlain(res)) {
    const bytes = Buffer.from(body.buffer, body.byteOffset, body.byteLength);
    res.end(bytes.toString("latin1"), "latin1", callback);
  } else res.end(body, callback);
}

/** Whether nobody outside has wrapped `end`: whoever did may count on bytes. */
function isPlain(res: ServerResponse): boolean {
  return res.end === ServerResponse.prototype.end;
}

/**
 * The length that a handler declared may be wrong. Set anew it also comes last: Node garbles file names beyond ASCII in
 * a Content-Disposition where it knows the length of bytes before it.
 */
function setLength(res: ServerResponse, body: Uint8Array): void {
  if (res.hasHeader("Content-Length")) res.removeHeader("Content-Length");
  res.setHeader("Content-Length", body.byteLength);
}

export function sendProblem(res: ServerResponse, problem: Problem): void {
  if (isAnswered(res)) return;
  setFields(res, problem.headers);
  sendWhole(res, problem, false);
}

/**
 * Refuses a body that is still on its way. Closing at once would reset the connection, and the client could lose
 * the refusal it has not read yet (RFC 9112 section 9.6): so answer, drop what still comes, then close.
 */
export function sendProblemAndClose(
  req: IncomingMessage,
  res: ServerResponse,
  problem: Problem,
): void {
  if (isAnswered(res)) return;
  const { headers, body } = problem;
  setFields(res, headers);
  res.setHeader("Connection", "close");
  if (req.complete) {
    sendWhole(res, problem, false);
    return;
  }
  setStatus(res, problem);
  setLength(res, body);
  res.write(body);
  const timer = setTimeout(end, LINGER_MS).unref();
  function end(): void {
    clearTimeout(timer);
    req.off("end", end).off("close", end);
    res.end();
  }
  req.once("end", end).once("close", end).resume();
}

/** Somebody outside may have begun an answer meanwhile, and only they can end it. */
function isAnswered(res: ServerResponse): boolean {
  return res.headersSent;
}
