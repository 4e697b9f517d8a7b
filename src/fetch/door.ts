/** One front door for requests of the Fetch standard. */
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
import type { IdempotencyContext } from "../http/request.js";
import type { Answer } from "../http/whole-answer.js";
import { ExecutionContext } from "../idempotency/context.js";
import { Protocol, type Outcome } from "../idempotency.js";
import type { LeasedExecution } from "../idempotency/execution.js";
import { identify, type Identity } from "../key/identity.js";
import { problemFor } from "../problem.js";
import type { RecordedResponse, Store } from "../store.js";
import { readUpTo } from "../streams.js";
import { record, recordingOfAnswer, responseOf, type Recording } from "./recording.js";

/** A request under the wrapper; without a key, `idempotency` is absent. */
export interface IdempotentFetchRequest extends Request {
  idempotency?: IdempotencyContext;
}

/** Calls the handler. */
type Handle = () => Promise<unknown>;

export class FetchDoor<Req extends Request> {
  readonly #options: DoorOptions<Req>;
  readonly #protocol: Protocol;
  readonly #methods: ReadonlySet<string>;

  constructor(store: Store, options: DoorOptions<Req>) {
    this.#options = options;
    this.#protocol = new Protocol(store, options);
    this.#methods = new Set(options.methods);
  }

  /**
   * Answers one request; the handler is called once at most.
   *
   * @throws what the handler threw, and what a function given as an option did.
   */
  async answer(request: Req & IdempotentFetchRequest, handle: Handle): Promise<Response> {
    const value = request.headers.get(this.#options.headerName);
    const outer = request.idempotency;
    // Wrapped twice, it would wait for itself.
    const isInside = ExecutionContext.isOf(this, outer);
    const isOurs = this.#methods.has(request.method) && !isInside;
    if (!isOurs || (value === null && !this.#options.required)) return (await handle()) as Response;
    let identity: Identity;
    try {
      identity = await this.#identify(request, value === null ? [] : [value]);
    } catch (error) {
      if (!isKitError(error)) throw error;
      return this.#refuse(request, outer, error);
    }
    return await this.#run(request, outer, identity, handle);
  }

  drain(): Promise<void> {
    return this.#protocol.drain();
  }

  async #identify(request: Req, lines: readonly string[]): Promise<Identity> {
    const { maxBodyBytes } = this.#options;
    const key = clientKey(lines, this.#options);
    if (request.bodyUsed || request.body?.locked === true) {
      throw new IdempotencyError(
        "BODY_UNREADABLE",
        "The request body was read before the idempotency wrapper. Read it in the handler, or from a clone.",
      );
    }
    // The request itself stays unread for the handler.
    const copy = request.body === null ? null : request.clone().body;
    const chunks = copy === null ? [] : await readUpTo(maxBodyBytes, copy);
    if (chunks === undefined) throw bodyTooLarge(maxBodyBytes);
    const { method, headers } = request;
    const { pathname, search } = new URL(request.url);
    const contentType = headers.get("Content-Type") ?? undefined;
    const body = Buffer.concat(chunks);
    const keyed = { key, method, url: pathname + search, contentType, body };
    return await identify(keyed, request, this.#options);
  }

  /** Resolves when there is an answer; one that leaves as it comes is there before its end is stored. */
  #run(
    request: Req & IdempotentFetchRequest,
    outer: IdempotencyContext | undefined,
    identity: Identity,
    handle: Handle,
  ): Promise<Response> {
    const { key, fingerprint } = identity;
    const signal = this.#options.onConflict === "wait" ? request.signal : undefined;
    return new Promise((resolve, reject) => {
      let recording: Recording | undefined;
      const execute = async (execution: LeasedExecution): Promise<RecordedResponse> => {
        request.idempotency = this.#contextOf(identity, execution);
        const returned = await handle().catch((error: unknown) => {
          // Once it has committed, its failure changes nothing for the client.
          if (execution.decision !== undefined) tellOfFailure(this.#options, error, request);
          throw error;
        });
        // What is returned after a commit is nobody's answer.
        if ((await execution.decision) !== undefined) return NOTHING;
        recording = await record(returned, this.#options.maxResponseBytes);
        if (recording.conclude !== undefined) resolve(recording.response);
        return await recording.recorded;
      };
      this.#protocol
        .run({ key, fingerprint, signal }, execute)
        .then((outcome) => {
          recording?.conclude?.(outcome.kind === "executed");
          return this.#carryOut(outcome, { request, outer, key, recording, handle });
        })
        .then(resolve, reject);
    });
  }

  #contextOf(identity: Identity, execution: LeasedExecution): IdempotencyContext {
    const { maxResponseBytes } = this.#options;
    const recordingOf = (answer: Answer) => recordingOfAnswer(answer, maxResponseBytes);
    return new ExecutionContext(identity, execution, recordingOf, this);
  }

  async #carryOut(outcome: Outcome, exchange: Exchange<Req>): Promise<Response> {
    const { request, outer, key, recording, handle } = exchange;
    switch (outcome.kind) {
      case "executed":
        if (outcome.committed !== undefined) return responseOf(outcome.committed);
        if (recording === undefined) throw new Error("Bug! It was executed and not recorded.");
        return recording.response;
      case "replayed": {
        const extra = replayFields(this.#options, key, outcome.response, request);
        return responseOf(outcome.response, [
          ...extra,
          ["Idempotency-Replayed", "true"],
          // RFC 9111: for this client alone; no cache may take it for the answer to other requests.
          ["Cache-Control", "no-store"],
        ]);
      }
      case "refused":
        return this.#refuse(request, outer, outcome.error);
      case "failed":
        throw outcome.error;
      case "unprotected":
        return (await handle()) as Response;
      default:
        throw new Error(`Bug! Unknown outcome ${JSON.stringify(outcome satisfies never)}`);
    }
  }

  #refuse(request: Req, outer: IdempotencyContext | undefined, error: IdempotencyError): Response {
    tellOfRefusal(this.#options, error, request);
    // A refusal is nobody's result, whoever records it.
    outer?.doNotStore();
    return responseOf(problemFor(error, this.#options));
  }
}

/** One keyed request on its way through the door. */
interface Exchange<Req> {
  readonly request: Req;
  /** Of another wrapper around this one. */
  readonly outer: IdempotencyContext | undefined;
  readonly key: string;
  readonly recording: Recording | undefined;
  readonly handle: Handle;
}

const NOTHING: RecordedResponse = { statusCode: 200, headers: [], body: Buffer.alloc(0) };
