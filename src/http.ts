/** The front door of Node's `http`: `(req, res, next)` for Express and its kind, `.wrap(handler)` for bare servers. */
import type { IncomingMessage, ServerResponse } from "node:http";
import { IdempotencyError, type ErrorCode } from "./errors.js";
import { emit } from "./events.js";
import { sendProblem, sendProblemAndClose, sendReplay } from "./http/answer.js";
import { parseHttpOptions, type HttpOptions } from "./http/options.js";
import { Protocol, type Execution, type Outcome } from "./idempotency.js";
import { identify, type Identity } from "./key/identity.js";
import { deriveKey, parseKey } from "./key.js";
import type { Given } from "./options.js";
import { ERROR_CODES, problemFor } from "./problem.js";
import { ResponseRecorder } from "./http/recorder.js";
import { readRequestBody, shieldRequest } from "./http/request-body.js";
import type { CachedResponse, RecordedResponse, Store } from "./store.js";

/** What a handler finds as `req.idempotency` while it runs under a key. */
export interface IdempotencyContext extends Execution {
  /** The client's key, or what `keyFunc` made of it. */
  readonly key: string;
  /** A key for a call to another service: the same for every execution of this request. */
  deriveKey(label: string): string;
}

/** A request under the middleware; without a key, `idempotency` is absent. */
export type IdempotentRequest = IncomingMessage & { idempotency?: IdempotencyContext };

type Next = (error?: unknown) => unknown;
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

/** One keyed request on its way through the door; it has a recorder once its handler runs. */
interface Exchange {
  readonly req: IdempotentRequest;
  readonly res: ServerResponse;
  readonly key: string;
  recorder: ResponseRecorder | undefined;
}

class HttpDoor {
  readonly #options: HttpOptions;
  readonly #protocol: Protocol;
  readonly #methods: ReadonlySet<string | undefined>;
  readonly #headerName: string;

  constructor(store: Store, options: HttpOptions) {
    this.#options = options;
    this.#protocol = new Protocol(store, options);
    this.#methods = new Set(options.methods);
    this.#headerName = options.headerName.toLowerCase();
  }

  /** The lines of the key's header, or `undefined` where the request is not the kit's business. */
  fieldLines(req: IncomingMessage): string[] | undefined {
    if (!this.#methods.has(req.method)) return undefined;
    // Not `req.headers`: Node joins repeated lines there, and two keys would look like one.
    const lines = req.headersDistinct[this.#headerName] ?? [];
    return lines.length === 0 && !this.#options.required ? undefined : lines;
  }

  async answer(
    req: IdempotentRequest,
    res: ServerResponse,
    next: Next,
    fieldLines: readonly string[],
  ): Promise<void> {
    let identity: Identity | undefined;
    try {
      identity = await this.#identify(req, fieldLines);
    } catch (error) {
      return this.#refuse(req, res, next, error);
    }
    // Without an identity the client stopped half-way through its body: nobody is left to answer.
    if (identity === undefined) return;
    const { key, fingerprint } = identity;
    const client = this.#options.onConflict === "wait" ? clientOf(res) : undefined;
    const exchange: Exchange = { req, res, key, recorder: undefined };
    let unshield: (() => void) | undefined;
    const outcome = await this.#protocol.run({ key, fingerprint, signal: client }, (execution) => {
      exchange.recorder = new ResponseRecorder(res, this.#options.maxResponseBytes);
      unshield = shieldRequest(req);
      req.idempotency = contextOf(identity, execution);
      return this.#handle(req, next, exchange.recorder);
    });
    this.#send(exchange, outcome);
    unshield?.();
    if (outcome.kind === "unprotected") await this.unprotected(req, res, next);
  }

  /** Runs a handler as it is, short of letting its failure take the process down. */
  async unprotected(req: IncomingMessage, res: ServerResponse, next: Next): Promise<void> {
    try {
      await next();
    } catch (error) {
      this.fail(req, res, error);
    }
  }

  /** Answers 500 for an error of the handler, where there is nobody to pass it on to. */
  fail(req: IncomingMessage, res: ServerResponse, error: unknown): void {
    this.#options.onError(error, req);
    if (res.writableEnded) return;
    if (res.headersSent) res.destroy();
    else sendProblem(res, problemFor(handlerFailed(error), this.#options));
  }

  drain(): Promise<void> {
    return this.#protocol.drain();
  }

  async #identify(
    req: IncomingMessage,
    fieldLines: readonly string[],
  ): Promise<Identity | undefined> {
    const { headerName, maxKeyLength, maxBodyBytes } = this.#options;
    if (fieldLines.length === 0) {
      throw new IdempotencyError(
        "KEY_MISSING",
        `This operation is idempotent and it requires correct usage of ${headerName}: send one, unique to the request.`,
      );
    }
    const parsed = parseKey(fieldLines, maxKeyLength);
    if (!parsed.ok) throw new IdempotencyError("KEY_INVALID", parsed.detail);
    const read = await readRequestBody(req, maxBodyBytes);
    switch (read.state) {
      case "aborted":
        return undefined;
      case "too-large":
        throw new IdempotencyError(
          "BODY_TOO_LARGE",
          `The request body may have ${maxBodyBytes} bytes at most.`,
        );
      case "consumed":
        throw new IdempotencyError(
          "BODY_UNREADABLE",
          "The request body was read before the idempotency middleware, and what is left does not tell all of it: " +
            "req.rawBody would, and so would req.body unless it was multipart. " +
            "Mount the middleware before the code that reads the body.",
        );
      case "read": {
        const { body, contentType = req.headers["content-type"] } = read;
        const { method = "" } = req;
        const request = { key: parsed.key, method, url: originalUrl(req), contentType, body };
        return await identify(request, req, this.#options);
      }
      default:
        throw new Error(`Bug! Unknown body ${JSON.stringify(read satisfies never)}`);
    }
  }

  /** Runs the handler until it has ended the response. A handler that returns without ending it is still at work. */
  async #handle(
    req: IncomingMessage,
    next: Next,
    recorder: ResponseRecorder,
  ): Promise<RecordedResponse> {
    let ended = false;
    const recorded = recorder.recorded.finally(() => {
      ended = true;
    });
    const failure = new Promise<never>((_, reject) => {
      const fail = (error: unknown) => {
        if (ended) this.#options.onError(error, req);
        else reject(error);
      };
      try {
        Promise.resolve(next()).catch(fail);
      } catch (error) {
        fail(error);
      }
    });
    return await Promise.race([recorded, failure]);
  }

  #send(exchange: Exchange, outcome: Outcome): void {
    const { req, res, recorder } = exchange;
    switch (outcome.kind) {
      case "executed":
        recorder?.send();
        break;
      case "replayed":
        instead(exchange, () =>
          sendReplay(res, outcome.response, this.#replayFields(exchange, outcome.response)),
        );
        break;
      case "refused":
        this.#report(outcome.error, req);
        instead(exchange, () => this.#sendProblem(res, outcome.error));
        break;
      case "failed":
        // A handler that destroyed its response has said all that it had to say.
        if (recorder?.destroyed !== true) this.#options.onError(outcome.error, req);
        instead(exchange, () => this.#sendProblem(res, handlerFailed(outcome.error)));
        break;
      case "unprotected":
        break;
      default:
        throw new Error(`Bug! Unknown outcome ${JSON.stringify(outcome satisfies never)}`);
    }
  }

  #refuse(req: IncomingMessage, res: ServerResponse, next: Next, error: unknown): void {
    if (!isKitError(error)) {
      next(error);
      return;
    }
    this.#report(error, req);
    if (error.code === "BODY_TOO_LARGE") {
      sendProblemAndClose(req, res, problemFor(error, this.#options));
    } else this.#sendProblem(res, error);
  }

  #sendProblem(res: ServerResponse, error: IdempotencyError): void {
    sendProblem(res, problemFor(error, this.#options));
  }

  #report(error: IdempotencyError, req: IncomingMessage): void {
    if (problemFor(error, this.#options).statusCode >= 500) this.#options.onError(error, req);
  }

  #replayFields({ req, key }: Exchange, response: CachedResponse) {
    try {
      return this.#options.onReplay(response, req);
    } catch (error) {
      // The answer is the stored one with or without what the hook would add.
      emit({ type: "hook-failed", key, hook: "onReplay", error });
      return undefined;
    }
  }
}

/** Answers otherwise than the handler did; where its bytes have left already, only cutting them short is honest. */
function instead({ res, recorder }: Exchange, answer: () => void): void {
  if (recorder?.streaming === true) recorder.abort();
  else {
    recorder?.discard();
    if (!res.destroyed) answer();
  }
}

function contextOf(identity: Identity, execution: Execution): IdempotencyContext {
  return {
    key: identity.clientKey,
    token: execution.token,
    get held() {
      return execution.held;
    },
    get signal() {
      return execution.signal;
    },
    deriveKey: (label) => deriveKey(identity.key, label),
  };
}

/** Aborts when the client hangs up. */
function clientOf(res: ServerResponse): AbortSignal {
  const controller = new AbortController();
  res.once("close", () => controller.abort());
  return controller.signal;
}

/** The URL as the client sent it: routers shorten `url` for what they mount. */
function originalUrl(req: IncomingMessage & { originalUrl?: unknown }): string {
  return typeof req.originalUrl === "string" ? req.originalUrl : (req.url ?? "");
}

function handlerFailed(cause: unknown): IdempotencyError {
  return new IdempotencyError(
    "HANDLER_FAILED",
    "The server failed to handle this request. Its result was not kept: a retry with the same key runs it again.",
    { cause },
  );
}

/** By code, not by class: hooks may throw errors of another copy of this package. */
function isKitError(error: unknown): error is IdempotencyError {
  return (ERROR_CODES as readonly unknown[]).includes((error as { code?: ErrorCode } | null)?.code);
}
