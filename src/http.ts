/** The front door of Node's `http`: `(req, res, next)` for Express and its kind, `.wrap(handler)` for bare servers. */
import type { IncomingMessage, ServerResponse } from "node:http";
import { HttpDoor, type Next } from "./http/door.js";
import { parseHttpOptions, type HttpOptions } from "./http/options.js";
import type { IdempotentRequest } from "./http/request.js";
import type { IdempotencyContext } from "./http/request.js";
import type { Given } from "./options.js";
import type { Store } from "./store.js";

export type { IdempotentRequest } from "./http/request.js";
export type { IdempotencyContext } from "./http/request.js";

type Handler = (req: IdempotentRequest, res: ServerResponse) => unknown;

export interface IdempotencyMiddleware {
  /** Resolves when the request is answered; never rejects. */
  (req: IncomingMessage, res: ServerResponse, next: Next): Promise<void> | undefined;
  /** For a server without a framework: `http.createServer(middleware.wrap(handler))`. */
  wrap(handler: Handler): (req: IncomingMessage, res: ServerResponse) => void;
  /** For a clean shutdown: takes no new keys (503), resolves when every response is stored or given up. */
  drain(): Promise<void>;
}

declare global {
  // Where Express and its kind let middleware declare what they add to a request.
  namespace Express {
    interface Request {
      idempotency?: IdempotencyContext;
    }
  }
}

/**
 * Makes retries of requests safe: the first request with an `Idempotency-Key` runs, every later one gets the very
 * same answer (draft-ietf-httpapi-idempotency-key-header-07).
 *
 * @param store Where responses are kept; one per environment.
 * @throws {OptionsError} at once, naming every mistake.
 * @example
 * import { createServer } from "node:http";
 * import { idempotency } from "idempotency-kit";
 * import { memoryStore } from "idempotency-kit/memory";
 *
 * const safe = idempotency(memoryStore());
 * createServer(safe.wrap((req, res) => res.writeHead(201).end("charged once"))).listen(3000);
 */
export function idempotency(store: Store, options?: Given<HttpOptions>): IdempotencyMiddleware {
  const door = new HttpDoor(store, parseHttpOptions(options));

  function idempotencyMiddleware(
    req: IncomingMessage,
    res: ServerResponse,
    next: Next,
  ): Promise<void> | undefined {
    const fieldLines = door.fieldLines(req);
    if (fieldLines !== undefined) return door.answer(req, res, next, fieldLines);
    next();
    return undefined;
  }

  return Object.assign(idempotencyMiddleware, {
    wrap: (handler: Handler) => (req: IncomingMessage, res: ServerResponse) => {
      const fieldLines = door.fieldLines(req);
      const handle = (error?: unknown) =>
        error === undefined ? handler(req, res) : door.fail(req, res, error);
      void (fieldLines === undefined
        ? door.unprotected(req, res, handle)
        : door.answer(req, res, handle, fieldLines));
    },
    drain: () => door.drain(),
  });
}
