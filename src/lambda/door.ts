/** The front door of HTTP requests that come as Lambda events. */
import {
  bodyTooLarge,
  clientKey,
  isKitError,
  replayFields,
  tellOfFailure,
  tellOfRefusal,
} from "../door.js";
import type { DoorOptions } from "../door/options.js";
import { IdempotencyError } from "../errors.js";
import { ExecutionContext } from "../idempotency/context.js";
import { Protocol, type Outcome } from "../idempotency.js";
import { identify, type Identity } from "../key/identity.js";
import { problemFor } from "../problem.js";
import type { Store } from "../store.js";
import { answerFor, replayFor, type LambdaAnswer } from "./answer.js";
import { invocationDeadline, withIdempotency, type IdempotentContext } from "./context.js";
import {
  eventBody,
  eventFieldLines,
  readEvent,
  type EventRequest,
  type HttpEvent,
} from "./event.js";
import { committable, recordResult, type Recording } from "./result.js";

export interface LambdaOptions<Event = HttpEvent> extends DoorOptions<Event> {}

/** Calls the handler with the context that it shall see. */
export type Handle = (context: unknown) => unknown;

export class LambdaDoor<Event extends HttpEvent> {
  readonly #options: LambdaOptions<Event>;
  readonly #protocol: Protocol;
  readonly #methods: ReadonlySet<string>;

  constructor(store: Store, options: LambdaOptions<Event>) {
    this.#options = options;
    this.#protocol = new Protocol(store, options);
    this.#methods = new Set(options.methods);
  }

  /**
   * Answers one event; the handler is called once at most.
   *
   * @throws what the handler threw, and what a function given as an option did.
   * @throws {IdempotencyError} `EVENT_UNKNOWN` for what is no HTTP request.
   */
  async answer(event: Event, context: unknown, handle: Handle): Promise<unknown> {
    const deadline = invocationDeadline(context);
    const request = readEvent(event);
    const lines = eventFieldLines(event, this.#options.headerName);
    const isOurs = lines.length > 0 || this.#options.required;
    if (!this.#methods.has(request.method) || !isOurs) return await handle(context);
    let identity: Identity;
    try {
      identity = await this.#identify(event, request, lines);
    } catch (error) {
      if (!isKitError(error)) throw error;
      return this.#refuse(event, context, request, error);
    }
    const { key, fingerprint } = identity;
    let recording: Recording | undefined;
    let committed: Recording | undefined;
    const outcome = await this.#protocol.run({ key, fingerprint, deadline }, async (execution) => {
      const recordingOf = (result: unknown) =>
        recordResult(request.kind, result, this.#options.maxResponseBytes);
      const idempotency = new ExecutionContext(identity, execution, (result: unknown) => {
        committed = recordingOf(result);
        return committable(committed);
      });
      recording = recordingOf(await handle(withIdempotency(context, idempotency)));
      return recording.recorded;
    });
    switch (outcome.kind) {
      case "executed":
        return outcome.committed === undefined
          ? this.#first(event, request, outcome, recording)
          : committed?.answer;
      case "replayed": {
        const extra = replayFields(this.#options, key, outcome.response, event);
        return replayFor(request.kind, outcome.response, extra);
      }
      case "refused":
        return this.#refuse(event, context, request, outcome.error);
      case "failed":
        throw outcome.error;
      case "unprotected":
        return await handle(context);
      default:
        throw new Error(`Bug! Unknown outcome ${JSON.stringify(outcome satisfies never)}`);
    }
  }

  async #identify(
    event: Event,
    { method, url }: EventRequest,
    lines: readonly string[],
  ): Promise<Identity> {
    const { maxBodyBytes } = this.#options;
    const key = clientKey(lines, this.#options);
    const { body, contentType } = eventBody(event);
    if (body.byteLength > maxBodyBytes) throw bodyTooLarge(maxBodyBytes);
    return await identify({ key, method, url, contentType, body }, event, this.#options);
  }

  /** What the handler returned; a result that was not storable is none to show either, for no retry would get it. */
  #first(
    event: Event,
    request: EventRequest,
    { stored }: Extract<Outcome, { kind: "executed" }>,
    recording: Recording | undefined,
  ): unknown {
    if (!stored || recording?.flaw === undefined) return recording?.answer;
    const error = new IdempotencyError(
      "RESPONSE_NOT_KEPT",
      "The request was processed, but what the handler returned is no response that could be kept: " +
        `${recording.flaw}. It is not run again; do not retry it.`,
    );
    tellOfFailure(this.#options, error, event);
    return this.#problem(request, error);
  }

  #refuse(
    event: Event,
    context: unknown,
    request: EventRequest,
    error: IdempotencyError,
  ): LambdaAnswer {
    tellOfRefusal(this.#options, error, event);
    // A refusal is nobody's result, whoever records it.
    (context as IdempotentContext | undefined)?.idempotency?.doNotStore();
    return this.#problem(request, error);
  }

  #problem({ kind }: EventRequest, error: IdempotencyError): LambdaAnswer {
    return answerFor(kind, problemFor(error, this.#options));
  }
}
