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
import type { KeyedRequest } from "../key.js";
import { identify, type Identity } from "../key/identity.js";
import { problemFor } from "../problem.js";
import type { RecordedResponse, Store } from "../store.js";
import { sendProblem, sendProblemAndClose, sendRecorded, sendReplay } from "./answer.js";
import type { HttpOptions } from "./options.js";
import { ResponseRecorder } from "./recorder.js";
import type { IdempotencyContext, IdempotentRequest } from "./request.js";
import { clientOf, linesOf, originalUrl } from "./request-head.js";
import type { Answer } from "./whole-answer.js";
import { ServerTiming } from "./server-timing.js";
import { readRequestBody, unshieldRequest, type RequestBody } from "./request-body.js";

/** Calls the handler, or whoever else is next; with an error, whoever answers errors. */
export type Next = (error?: unknown) => unknown;

/** One keyed request on its way through the door. */
class Exchange {
  readonly req: IdempotentRequest;
  readonly res: ServerResponse;
  readonly identity: Identity;
  readonly timing: ServerTiming | undefined;
  /** Of another middleware around this one. */
  readonly outer: IdempotencyContext | undefined;
  /** Once the handler runs. */
  recorder: ResponseRecorder | undefined;

  constructor(
    req: IdempotentRequest,
    res: ServerResponse,
    identity: Identity,
    timing: ServerTiming | undefined,
  ) {
    this.req = req;
    this.res = res;
    this.identity = identity;
    this.timing = timing;
    this.outer = req.idempotency;
  }
}

export class HttpDoor {
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
  fieldLines(req: IdempotentRequest): string[] | undefined {
    if (!this.#methods.has(req.method)) return undefined;
    // Mounted twice, it would wait for itself.
    if (ExecutionContext.isOf(this, req.idempotency)) return undefined;
    const lines = linesOf(this.#headerName, req);
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
      unshieldRequest(req);
    }
  }

  async #answer(
    req: IdempotentRequest,
    res: ServerResponse,
    next: Next,
    fieldLines: readonly string[],
  ): Promise<void> {
    let identity: Identity;
    try {
      const key = clientKey(fieldLines, this.#options);
      const read = await readRequestBody(req, this.#options.maxBodyBytes);
      // The client stopped half-way through its body: nobody is left to answer.
      if (read.state === "aborted") return;
      identity = await identify(this.#keyedRequest(req, key, read), req, this.#options);
    } catch (error) {
      return this.#refuse(req, res, next, error);
    }
    const { key, fingerprint } = identity;
    const client = this.#options.onConflict === "wait" ? clientOf(res) : undefined;
    const timing = this.#options.serverTiming ? new ServerTiming() : undefined;
    const exchange = new Exchange(req, res, identity, timing);
    const outcome = await this.#protocol.run({ key, fingerprint, signal: client }, (execution) =>
      timing === undefined
        ? this.#handle(exchange, next, execution)
        : timing.ofHandler(() => this.#handle(exchange, next, execution)),
    );
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
    try {
      if (res.headersSent) res.destroy();
      else sendProblem(res, problemFor(handlerFailed(error), this.#options));
    } catch (failure) {
      // Somebody outside wrapped the response and fails with it: nothing can be answered any more.
      tellOfFailure(this.#options, failure, req);
      res.destroy();
    }
  }

  drain(): Promise<void> {
    return this.#protocol.drain();
  }

  #keyedRequest(
    req: IncomingMessage,
    key: string,
    read: Exclude<RequestBody, { readonly state: "aborted" }>,
  ): KeyedRequest {
    switch (read.state) {
      case "too-large":
        throw bodyTooLarge(this.#options.maxBodyBytes);
      case "consumed":
        throw new IdempotencyError(
          "BODY_UNREADABLE",
          "The request body was read before the idempotency middleware, and what is left does not tell all of it: " +
            "req.rawBody would, and so would req.body unless it was multipart. " +
            "Mount the middleware before the code that reads the body.",
        );
      case "read": {
        const { body, contentType = req.headers["content-type"] } = read;
        return { key, method: req.method ?? "", url: originalUrl(req), contentType, body };
      }
      default:
        throw new Error(`Bug! Unknown body ${JSON.stringify(read satisfies never)}`);
    }
  }

  /** Runs the handler until it has ended the response. A handler that returns without ending it is still at work. */
  #handle(exchange: Exchange, next: Next, execution: LeasedExecution): Promise<RecordedResponse> {
    const { req, res, identity } = exchange;
    return new Promise((resolve, reject) => {
      const recorder = new ResponseRecorder(res, this.#options.maxResponseBytes, resolve, reject);
      exchange.recorder = recorder;
      req.idempotency = new ExecutionContext(
        identity,
        execution,
        (answer: Answer) => recorder.recordingOf(answer),
        this,
      );
      // What is committed leaves at once, however long the handler goes on.
      execution.onCommitted = resolve;
      const fail = (error: unknown) => {
        // Once it has answered, its failure changes nothing for the client.
        if (res.writableEnded || execution.decision !== undefined) {
          tellOfFailure(this.#options, error, req);
        } else reject(error);
      };
      try {
        const running = next();
        if (running !== undefined) Promise.resolve(running).catch(fail);
      } catch (error) {
        fail(error);
      }
    });
  }

  #send(exchange: Exchange, outcome: Outcome): void {
    const { req, res, identity, recorder, timing } = exchange;
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
            replayFields(this.#options, identity.key, outcome.response, req),
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

function handlerFailed(cause: unknown): IdempotencyError {
  return new IdempotencyError(
    "HANDLER_FAILED",
    "The server failed to handle this request. Its result was not kept: a retry with the same key runs it again.",
    { cause },
  );
}
