/** `idempotency-kit/fetch`: the front door of servers whose handlers take a `Request` and return a `Response`. */
import { parseDoorOptions, type DoorOptions } from "./door/options.js";
import { OptionsError } from "./errors.js";
import { FetchDoor, type IdempotentFetchRequest } from "./fetch/door.js";
import type { Given } from "./options.js";
import type { Store } from "./store.js";

export type { IdempotentFetchRequest } from "./fetch/door.js";

/** Those of `idempotency`; `Original` is the request. */
export interface FetchOptions<Req extends Request = Request> extends DoorOptions<Req> {}

export interface IdempotentFetchHandler<Req extends Request, Rest extends unknown[]> {
  (request: Req, ...rest: Rest): Promise<Response>;
  /** For a clean shutdown: takes no new keys (503), resolves when every response is stored or given up. */
  drain(): Promise<void>;
}

/**
 * Makes retries safe of a handler that takes a `Request` and returns a `Response`, as in Hono, Next.js, Deno or Bun: the
 * first request with a key runs, every later one gets the very same answer.
 *
 * The handler gets the request itself, its body unread, and whatever else the server passes. While it runs under a key, it finds
 * `request.idempotency`. What it throws frees the key and is thrown. A response that is longer than `maxResponseBytes`, or an
 * event stream, is passed on as it comes and leaves a tombstone.
 *
 * @throws {OptionsError} at once, naming every mistake.
 * @example
 * import { idempotentFetchHandler } from "idempotency-kit/fetch";
 * import { memoryStore } from "idempotency-kit/memory";
 *
 * const charge = async (request: Request) => Response.json(await request.json(), { status: 201 });
 * export const POST = idempotentFetchHandler(charge, memoryStore(), { required: true });
 */
export function idempotentFetchHandler<Req extends Request, Rest extends unknown[]>(
  handler: (request: Req & IdempotentFetchRequest, ...rest: Rest) => Response | Promise<Response>,
  store: Store,
  options?: Given<FetchOptions<Req>>,
): IdempotentFetchHandler<Req, Rest> {
  if (typeof handler !== "function") {
    throw new OptionsError("idempotentFetchHandler", ["the handler must be a function"]);
  }
  const door = new FetchDoor<Req>(store, parseDoorOptions<Req>("idempotentFetchHandler", options));

  async function idempotentHandler(request: Req, ...rest: Rest): Promise<Response> {
    return await door.answer(request, async () => await handler(request, ...rest));
  }

  return Object.assign(idempotentHandler, { drain: () => door.drain() });
}
