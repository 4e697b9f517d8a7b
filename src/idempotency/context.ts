/** What a handler knows of the key that it runs under. */
import { deriveKey } from "../key.js";
import type { Identity } from "../key/identity.js";
import type { RecordedResponse } from "../store.js";
import type { Execution, LeasedExecution } from "./execution.js";

/**
 * What a handler finds as `idempotency` on its request (http) or context (Lambda) while it runs under a key.
 *
 * @template Result What it answers with.
 */
export interface KeyContext<Result> extends Execution {
  /** The client's key, or what `keyFunc` made of it. */
  readonly key: string;
  /** A key for a call to another service: the same for every execution of this request. */
  deriveKey(label: string): string;
  /**
   * Commits the result together with writes of the handler's own to the store's database, all or nothing: a handler that
   * has no other side effect runs exactly once. Over HTTP the answer then leaves at once, with the header fields that are
   * set on the response, and there is nothing left to end. `shouldStore` is not asked.
   *
   * @param writes In the store's own form: for DynamoDB, the items of a `TransactWriteItems`.
   * @returns `false` where this execution has lost its lease and nothing was written, or whether it was is not known
   * yet: the client gets the successor's answer, or 503 and by a retry the committed one.
   * @throws {CommitRefusedError} where the conditions of `writes` are not met, or the store cannot do it: nothing is
   * written, and the handler goes on, for example with another answer.
   */
  commitWith(writes: readonly unknown[], result: Result): Promise<boolean>;
}

/** A class for its getters: those of a literal would be made anew for every request. */
export class ExecutionContext<Result> implements KeyContext<Result> {
  readonly key: string;
  readonly token: string;
  readonly #storageKey: string;
  readonly #execution: LeasedExecution;
  readonly #recordingOf: (result: Result) => RecordedResponse;
  readonly #door: object | undefined;

  /**
   * @param recordingOf What is stored of a result; throws where it cannot be.
   * @param door Whose it is, for a front door that may be mounted twice.
   */
  constructor(
    identity: Identity,
    execution: LeasedExecution,
    recordingOf: (result: Result) => RecordedResponse,
    door?: object,
  ) {
    this.key = identity.clientKey;
    this.token = execution.token;
    this.#storageKey = identity.key;
    this.#execution = execution;
    this.#recordingOf = recordingOf;
    this.#door = door;
  }

  /** Whether the handler of this context runs under this front door. */
  static isOf(door: object, context: unknown): boolean {
    if (typeof context !== "object" || context === null) return false;
    return #door in context && context.#door === door;
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
  readonly commitWith = async (writes: readonly unknown[], result: Result): Promise<boolean> =>
    await this.#execution.commitWith(writes, this.#recordingOf(result));

  /** Bound as well. */
  readonly deriveKey = (label: string): string => deriveKey(this.#storageKey, label);
}
