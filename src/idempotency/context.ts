/** What a handler knows of the key that it runs under. */
import { deriveKey } from "../key.js";
import type { Identity } from "../key/identity.js";
import type { Execution } from "./execution.js";

/** What a handler finds as `idempotency` on its request (http) or context (Lambda) while it runs under a key. */
export interface IdempotencyContext extends Execution {
  /** The client's key, or what `keyFunc` made of it. */
  readonly key: string;
  /** A key for a call to another service: the same for every execution of this request. */
  deriveKey(label: string): string;
}

/** A class for its getters: those of a literal would be made anew for every request. */
export class ExecutionContext implements IdempotencyContext {
  readonly key: string;
  readonly token: string;
  readonly #storageKey: string;
  readonly #execution: Execution;

  constructor(identity: Identity, execution: Execution) {
    this.key = identity.clientKey;
    this.token = execution.token;
    this.#storageKey = identity.key;
    this.#execution = execution;
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
  readonly deriveKey = (label: string): string => deriveKey(this.#storageKey, label);
}
