/** What a handler knows of the key that it runs under. */
import type { IncomingMessage } from "node:http";
import type { Execution } from "../idempotency/execution.js";
import { deriveKey } from "../key.js";
import type { Identity } from "../key/identity.js";

/** What a handler finds as `req.idempotency` while it runs under a key. */
export interface IdempotencyContext extends Execution {
  /** The client's key, or what `keyFunc` made of it. */
  readonly key: string;
  /** A key for a call to another service: the same for every execution of this request. */
  deriveKey(label: string): string;
}

/** A request under the middleware; without a key, `idempotency` is absent. */
export type IdempotentRequest = IncomingMessage & { idempotency?: IdempotencyContext };

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
