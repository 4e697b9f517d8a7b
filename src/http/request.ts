/** A request as the handlers behind the middleware see it. */
import type { IncomingMessage } from "node:http";
import type { IdempotencyContext } from "../idempotency/context.js";

/** A request under the middleware; without a key, `idempotency` is absent. */
export type IdempotentRequest = IncomingMessage & { idempotency?: IdempotencyContext };
