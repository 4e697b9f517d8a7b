/** What a handler knows of the key that it runs under. */
import type { IncomingMessage } from "node:http";
import type { Execution } from "../idempotency.js";
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

export function contextOf(identity: Identity, execution: Execution): IdempotencyContext {
  return {
    key: identity.clientKey,
    token: execution.token,
    get held() {
      return execution.held;
    },
    get signal() {
      return execution.signal;
    },
    doNotStore: () => execution.doNotStore(),
    deriveKey: (label) => deriveKey(identity.key, label),
  };
}
