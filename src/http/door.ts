/** One front door: who a request is, what it is answered, and by whom the handler is called. */
import type { IncomingMessage, ServerResponse } from "node:http";
import { IdempotencyError, type ErrorCode } from "../errors.js";
import { emit } from "../events.js";
import type { LeasedExecution } from "../idempotency/execution.js";
import { Protocol, type Outcome } from "../idempotency.js";
import { parseKey } from "../key.js";
import { identify, type Identity } from "../key/identity.js";
import { ERROR_CODES, problemFor } from "../problem.js";
import type { CachedResponse, RecordedResponse, Store } from "../store.js";
import { sendProblem, sendProblemAndClose, sendRecorded, sendReplay } from "./answer.js";
import { ExecutionContext, type IdempotencyContext, type IdempotentRequest } from "./context.js";
import type { HttpOptions } from "./options.js";
import { ResponseRecorder } from "./recorder.js";
import { ServerTiming } from "./server-timing.js";
import { readRequestBody, shieldRequest } from "./request-body.js";

/** Calls the handler, or whoever else is next; with an error, whoever answers errors. */
export type Next = (error?: unknown) => unknown;

/** One keyed request on its way through the door; it has a recorder once its handler runs. */
interface Exchange {
  readonly req: IdempotentRequest;
  readonly res: ServerResponse;
  readonly key: string;
  /** Of another middleware around this one. */
  readonly outer: IdempotencyContext | undefined;
  recorder: ResponseRecorder | undefined;
  readonly timing: ServerTiming | undefined;
}

export class HttpDoor {
  readonly #options: HttpOptions;
  readonly #protocol: Protocol;
  readonly #methods: ReadonlySet<string | undefined>;
  readonly #headerName: string;
  /** Of the requests whose handlers run under this door. */
  readonly #contexts = new WeakSet<IdempotencyContext>();

  constructor(store: Store, options: HttpOptions) {
    this.#options = options;
    this.#protocol = new Protocol(store, options);
    this.#methods = new Set(options.methods);
    this.#headerName = options.headerName.toLowerCase();
  }

  /** The lines of the key's header, or `undefined` where the request is not the kit's business. */
  fieldLines(req: IdempotentRequest): string[] | undefined {
    if (!this.#methods.has(req.method)) return undefined;
    // Mounted twice, it would wait for itself.
    if (req.idempotency !== undefined && this.#contexts.has(req.idempotency)) return undefined;
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
    try {
      await this.#answer(req, res, next, fieldLines);
    } catch (error) {
      this.fail(req, res, error);
    } finally {
      shieldRequest(req)();
    }
  }

  async #answer(
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
    const timing = this.#options.serverTiming ? new ServerTiming() : undefined;
    const outer = req.idempotency;
    const exchange: Exchange = { req, res, key, outer, recorder: undefined, timing };
    const outcome = await this.#protocol.run({ key, fingerprint, signal: client }, (execution) => {
      exchange.recorder = new ResponseRecorder(res, this.#options.maxResponseBytes);
      req.idempotency = new ExecutionContext(identity, execution, exchange.recorder);
      this.#contexts.add(req.idempotency);
      const { recorder } = exchange;
      const handle = () => this.#handle(exchange, next, recorder, execution);
      return timing === undefined ? handle() : timing.ofHandler(handle);
    });
    this.#send(exchange, outcome);
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
    this.#tell(error, req);
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
  #handle(
    { req, res }: Exchange,
    next: Next,
    recorder: ResponseRecorder,
    execution: LeasedExecution,
  ): Promise<RecordedResponse> {
    return new Promise((resolve, reject) => {
      const fail = (error: unknown) => {
        // Once it has answered, its failure changes nothing for the client.
        if (res.writableEnded || execution.decision !== undefined) this.#tell(error, req);
        else reject(error);
      };
      recorder.recorded.then(resolve, reject);
      try {
        Promise.resolve(next()).catch(fail);
      } catch (error) {
        fail(error);
      }
    });
  }

  #send(exchange: Exchange, outcome: Outcome): void {
    const { req, res, recorder, timing } = exchange;
    switch (outcome.kind) {
      case "executed":
        if (outcome.committed === undefined)
          recorder?.send(timing && (() => timing.tell(res, outcome)));
        else sendInstead(exchange, outcome, outcome.committed);
        break;
      case "replayed":
        instead(exchange, outcome, () =>
          sendReplay(res, outcome.response, this.#replayFields(exchange, outcome.response)),
        );
        break;
      case "refused":
        this.#report(outcome.error, req);
        // A refusal is nobody's result, whoever records it.
        exchange.outer?.doNotStore();
        instead(exchange, outcome, () => this.#sendProblem(res, outcome.error));
        break;
      case "failed":
        // A handler that destroyed its response has said all that it had to say.
        if (recorder?.destroyed !== true) this.#tell(outcome.error, req);
        instead(exchange, outcome, () => this.#sendProblem(res, handlerFailed(outcome.error)));
        break;
      case "unprotected":
        break;
      default:
        throw new Error(`Bug! Unknown outcome ${JSON.stringify(outcome satisfies never)}`);
    }
  }

  #refuse(req: IdempotentRequest, res: ServerResponse, next: Next, error: unknown): void {
    if (!isKitError(error)) {
      next(error);
      return;
    }
    this.#report(error, req);
    req.idempotency?.doNotStore();
    if (error.code === "BODY_TOO_LARGE") {
      sendProblemAndClose(req, res, problemFor(error, this.#options));
    } else this.#sendProblem(res, error);
  }

  #sendProblem(res: ServerResponse, error: IdempotencyError): void {
    sendProblem(res, problemFor(error, this.#options));
  }

  #report(error: IdempotencyError, req: IncomingMessage): void {
    if (problemFor(error, this.#options).statusCode >= 500) this.#tell(error, req);
  }

  #tell(error: unknown, req: IncomingMessage): void {
    try {
      this.#options.onError(error, req);
    } catch (failure) {
      // The client gets its answer all the same.
      process.emitWarning(failure instanceof Error ? failure : String(failure));
    }
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
function instead({ res, recorder, timing }: Exchange, outcome: Outcome, answer: () => void): void {
  if (recorder?.streaming === true) recorder.abort();
  else {
    recorder?.discard();
    if (res.destroyed) return;
    timing?.tell(res, outcome);
    answer();
  }
}

function sendInstead(exchange: Exchange, outcome: Outcome, recorded: RecordedResponse): void {
  instead(exchange, outcome, () => sendRecorded(exchange.res, recorded));
}

/** Aborts when the client hangs up. */
function clientOf(res: ServerResponse): AbortSignal {
  if (res.destroyed) return AbortSignal.abort();
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
