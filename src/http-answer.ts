/** Answers of the kit's own on a `http.ServerResponse`: replays and problem documents. */
import type { IncomingMessage, ServerResponse } from "node:http";
import { storableHeaders } from "./headers.js";
import type { Problem } from "./problem.js";
import { setFields } from "./response-head.js";
import type { CachedResponse, HeaderFields } from "./store.js";

/** How long the rest of a refused body is read and dropped, so that the client gets to read the refusal. */
const LINGER_MS = 1_000;

const ALL_FIELDS: ReadonlySet<string> = new Set(["set-cookie", "www-authenticate"]);

/**
 * Sends a stored response again. Framing and date are made anew; `extra` may add fields, but none that concern
 * framing or the connection.
 */
export function sendReplay(
  res: ServerResponse,
  response: CachedResponse,
  extra: Readonly<Record<string, string>> = {},
): void {
  res.statusCode = response.statusCode;
  if (response.statusMessage !== undefined) res.statusMessage = response.statusMessage;
  setFields(res, response.headers);
  setFields(res, storableHeaders(Object.entries(extra), ALL_FIELDS));
  res.setHeader("Idempotency-Replayed", "true");
  // A replay is for this client alone; a cache must not take it for the answer to other requests (RFC 9111).
  res.setHeader("Cache-Control", "no-store");
  sendBody(res, response.body, response.trailers);
}

function sendBody(res: ServerResponse, body: Uint8Array, trailers: HeaderFields | undefined): void {
  if (trailers === undefined) {
    if (body.byteLength > 0) res.end(body);
    else res.end();
    return;
  }
  // Written before it is ended, the body goes out in chunks, which trailers need (RFC 9112 section 7.1.2).
  res.writeHead(res.statusCode);
  res.write(body);
  res.addTrailers(trailers as [string, string][]);
  res.end();
}

export function sendProblem(res: ServerResponse, problem: Problem): void {
  setProblem(res, problem);
  res.end(problem.body);
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
  setProblem(res, problem);
  res.setHeader("Connection", "close");
  res.write(problem.body);
  const timer = setTimeout(end, LINGER_MS).unref();
  function end(): void {
    clearTimeout(timer);
    req.off("end", end).off("close", end);
    res.end();
  }
  req.once("end", end).once("close", end).resume();
}

function setProblem(res: ServerResponse, { statusCode, headers, body }: Problem): void {
  res.statusCode = statusCode;
  setFields(res, headers);
  res.setHeader("Content-Length", body.byteLength);
}
