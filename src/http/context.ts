/** What a handler knows of the key that it runs under. */
import type { IncomingMessage } from "node:http";
import type { Execution, LeasedExecution } from "../idempotency/execution.js";
import { deriveKey } from "../key.js";
import type { Identity } from "../key/identity.js";
import type { Answer } from "./whole-answer.js";
import type { RecordedResponse } from "../store.js";

/** What a handler finds as `req.idempotency` while it runs under a key. */
export interface IdempotencyContext extends Execution {
  /** The client's key, or what `keyFunc` made of it. */
  readonly key: string;
  /** A key for a call to another service: the same for every execution of this request. */
  deriveKey(label: string): string;
  /**
   * Commits the answer together with writes of the handler's own to the store's database, all or nothing, and sends it:
   * a handler that has no other side effect runs exactly once. Its response is then finished; there is nothing left to
   * end. Header fields that are set on the response are part of the answer; `shouldStore` is not asked.
   *
   * @param writes In the store's own form: for DynamoDB, the items of a `TransactWriteItems`.
   * @returns `false` where this execution has lost its lease and nothing was written, or whether it was is not known
   * yet: the client gets the successor's answer, or 503 and by a retry the committed one.
   * @throws {CommitRefusedError} where the conditions of `writes` are not met, or the store cannot do it: nothing is
   * written, and the handler goes on, for example with another answer.
   */
  commitWith(writes: readonly unknown[], answer: Answer): Promise<boolean>;
}

/** A request under the middleware; without a key, `idempotency` is absent. */
export type IdempotentRequest = IncomingMessage & { idempotency?: IdempotencyContext };

/** Makes of an answer what would be recorded of it. */
export interface AnswerRecorder {
  recordingOf(answer: Answer): RecordedResponse;
}

/** A class for its getters: those of a literal would be made anew for every request. */
export class ExecutionContext implements IdempotencyContext {
  readonly key: string;
  readonly token: string;
  readonly #storageKey: string;
  readonly #execution: LeasedExecution;
  readonly #recorder: AnswerRecorder;

  constructor(identity: Identity, execution: LeasedExecution, recorder: AnswerRecorder) {
    this.key = identity.clientKey;
    this.token = execution.token;
    this.#storageKey = identity.key;
    this.#execution = execution;
    this.#recorder = recorder;
  }

  get held(): boolean {
    return this.#execution.held;
  }

  get signal(): AbortSignal {
    return this.#execution.signal;
  }

  /** Bound, because handlers take it apart from its context. */
  readonly doNotStore = (): void => this.#execution.doNotStore();

  /** Bound as well. */
  readonly commitWith = async (writes: readonly unknown[], answer: Answer): Promise<boolean> =>
    this.#execution.commitWith(writes, this.#recorder.recordingOf(answer));

  /** Bound as well. */
  readonly deriveKey = (label: string): string => deriveKey(this.#storageKey, label);
}
