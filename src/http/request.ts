/** A request as the handlers behind the middleware see it. */
import type { IncomingMessage } from "node:http";
import type { KeyContext } from "../idempotency/context.js";
import type { Answer } from "./whole-answer.js";

/** What a handler finds as `req.idempotency` while it runs under a key. */
export type IdempotencyContext = KeyContext<Answer>;

/** A request under the middleware; without a key, `idempotency` is absent. */
export type IdempotentRequest = IncomingMessage & { idempotency?: IdempotencyContext };
