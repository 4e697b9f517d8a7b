/** One front door: who a request is, what it is answered, and by whom the handler is called. */
import type { IncomingMessage, ServerResponse } from "node:http";
import {
  bodyTooLarge,
  clientKey,
  isKitError,
  replayFields,
  tellOfFailure,
  tellOfRefusal,
} from "../door.js";
import { IdempotencyError } from "../errors.js";
import { ExecutionContext } from "../idempotency/context.js";
import type { LeasedExecution } from "../idempotency/execution.js";
import { Protocol, type Outcome } from "../idempotency.js";
import { identify, type Identity } from "../key/identity.js";
import { problemFor } from "../problem.js";
import type { RecordedResponse, Store } from "../store.js";
import { sendProblem, sendProblemAndClose, sendRecorded, sendReplay } from "./answer.js";
import type { HttpOptions } from "./options.js";
import { ResponseRecorder } from "./recorder.js";
import type { IdempotencyContext, IdempotentRequest } from "./request.js";
import type { Answer } from "./whole-answer.js";
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
      const recorder = new ResponseRecorder(res, this.#options.maxResponseBytes);
      exchange.recorder = recorder;
      req.idempotency = new ExecutionContext(identity, execution, (answer: Answer) =>
        recorder.recordingOf(answer),
      );
      this.#contexts.add(req.idempotency);
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
    tellOfFailure(this.#options, error, req);
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
    const { maxBodyBytes } = this.#options;
    const key = clientKey(fieldLines, this.#options);
    const read = await readRequestBody(req, maxBodyBytes);
    switch (read.state) {
      case "aborted":
        return undefined;
      case "too-large":
        throw bodyTooLarge(maxBodyBytes);
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
        const request = { key, method, url: originalUrl(req), contentType, body };
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
        if (res.writableEnded || execution.decision !== undefined) {
          tellOfFailure(this.#options, error, req);
        } else reject(error);
      };
      recorder.recorded.then(resolve, reject);
      // What is committed leaves at once, however long the handler goes on.
      execution.onCommitted = resolve;
      try {
        Promise.resolve(next()).catch(fail);
      } catch (error) {
        fail(error);
      }
    });
  }

  #send(exchange: Exchange, outcome: Outcome): void {
    const { req, res, key, recorder, timing } = exchange;
    switch (outcome.kind) {
      case "executed":
        if (outcome.committed === undefined)
          recorder?.send(timing && (() => timing.tell(res, outcome)));
        else sendInstead(exchange, outcome, outcome.committed);
        break;
      case "replayed":
        instead(exchange, outcome, () =>
          sendReplay(
            res,
            outcome.response,
            replayFields(this.#options, key, outcome.response, req),
          ),
        );
        break;
      case "refused":
        tellOfRefusal(this.#options, outcome.error, req);
        // A refusal is nobody's result, whoever records it.
        exchange.outer?.doNotStore();
        instead(exchange, outcome, () => this.#sendProblem(res, outcome.error));
        break;
      case "failed":
        // A handler that destroyed its response has said all that it had to say.
        if (recorder?.destroyed !== true) tellOfFailure(this.#options, outcome.error, req);
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
    tellOfRefusal(this.#options, error, req);
    req.idempotency?.doNotStore();
    if (error.code === "BODY_TOO_LARGE") {
      sendProblemAndClose(req, res, problemFor(error, this.#options));
    } else this.#sendProblem(res, error);
  }

  #sendProblem(res: ServerResponse, error: IdempotencyError): void {
    sendProblem(res, problemFor(error, this.#options));
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
