/** `idempotency-kit/middy`: the Lambda front door as a middleware of Middy 7. */
import { parseDoorOptions } from "./door/options.js";
import { LambdaDoor, type LambdaOptions } from "./lambda/door.js";
import type { HttpEvent } from "./lambda/event.js";
import type { Given } from "./options.js";
import type { Store } from "./store.js";

/** What is used of Middy's request. */
export interface MiddyRequest<Event = HttpEvent> {
  event: Event;
  context: object;
  response: unknown;
  error: unknown;
}

export interface IdempotencyMiddy<Event = HttpEvent> {
  before(request: MiddyRequest<Event>): Promise<unknown>;
  after(request: MiddyRequest<Event>): Promise<void>;
  onError(request: MiddyRequest<Event>): Promise<void>;
}

/** One request between `before` and its end. */
interface Exchange {
  /** What becomes of the handler and of all middlewares inside. */
  readonly handled: Pledge<unknown>;
  /** What the client gets then. */
  readonly answer: Promise<unknown>;
}

/** A promise, and the two ways to settle it. */
interface Pledge<T> {
  readonly promise: Promise<T>;
  resolve: (value: T) => void;
  reject: (error: unknown) => void;
}

/** Says that the handler's turn has come. */
const BEGUN = Symbol("begun");

/**
 * Makes retries safe of everything that is used after it: the handler with its parsers, validators, serialisers. What is
 * used before it runs around it, for first answers; a replay ends the request at once, as Middy's early responses do. So
 * use it before all that belongs to a response, such as CORS headers, and after authentication.
 *
 * The options are those of `idempotentHandler`, and so are its answers. Middy's early timeout frees no key: the handler may
 * still be running, and its lease ends with the invocation. Responses that stream are refused as no responses.
 *
 * @throws {OptionsError} at once, naming every mistake.
 * @example
 * import middy from "@middy/core";
 * import { idempotencyMiddleware } from "idempotency-kit/middy";
 * import { memoryStore } from "idempotency-kit/memory";
 *
 * export const handler = middy()
 *   .use(idempotencyMiddleware(memoryStore(), { required: true }))
 *   .handler(async () => ({ statusCode: 201, body: "charged once" }));
 */
export function idempotencyMiddleware<Event extends HttpEvent = HttpEvent>(
  store: Store,
  options?: Given<LambdaOptions<Event>>,
): IdempotencyMiddy<Event> {
  const parsed = parseDoorOptions<Event>("idempotencyMiddleware", options);
  const door = new LambdaDoor<Event>(store, parsed);
  const exchanges = new WeakMap<MiddyRequest<Event>, Exchange>();

  /** Each exchange ends once, however many ends Middy comes to. */
  function take(request: MiddyRequest<Event>): Exchange | undefined {
    const exchange = exchanges.get(request);
    exchanges.delete(request);
    return exchange;
  }

  async function before(request: MiddyRequest<Event>): Promise<unknown> {
    const handled = pledge<unknown>();
    const begun = pledge<typeof BEGUN>();
    const answer = door.answer(request.event, request.context, (context) => {
      request.context = context as object;
      begun.resolve(BEGUN);
      return handled.promise;
    });
    const early = await Promise.race([begun.promise, answer]);
    if (early !== BEGUN) return early;
    exchanges.set(request, { handled, answer });
    awaitEarlyResponse(request, () => take(request));
    return undefined;
  }

  async function after(request: MiddyRequest<Event>): Promise<void> {
    const exchange = take(request);
    if (exchange === undefined) return;
    exchange.handled.resolve(request.response);
    request.response = await exchange.answer;
  }

  async function onError(request: MiddyRequest<Event>): Promise<void> {
    // Somebody inside may have made a response of the error: that is what happened, then.
    if (request.response !== undefined) return await after(request);
    const exchange = take(request);
    if (exchange === undefined || isEarlyTimeout(request.error)) return;
    exchange.handled.reject(request.error);
    try {
      request.response = await exchange.answer;
    } catch {
      // The error itself, which Middy throws.
    }
  }

  return { before, after, onError };
}

/**
 * Ends the exchange also where a middleware inside answers early: Middy then puts the response on the request, calls
 * nobody else, and returns `request.response` from an async function. So a promise there is waited for, and the response
 * is stored before it leaves.
 */
function awaitEarlyResponse(
  request: { response: unknown },
  take: () => Exchange | undefined,
): void {
  let current = request.response;
  Object.defineProperty(request, "response", {
    configurable: true,
    enumerable: true,
    get: () => current,
    set(response: unknown) {
      current = response;
      const exchange = "earlyResponse" in request ? take() : undefined;
      if (exchange === undefined) return;
      exchange.handled.resolve(response);
      current = exchange.answer.then((answer) => (current = answer));
    },
  });
}

/** Middy's own, with which it leaves a handler that is still at work. */
function isEarlyTimeout(error: unknown): boolean {
  const { name, cause } = Object(error) as { name?: unknown; cause?: { package?: unknown } };
  return name === "TimeoutError" && cause?.package === "@middy/core";
}

function pledge<T>(): Pledge<T> {
  let resolve!: (value: T) => void;
  let reject!: (error: unknown) => void;
  const promise = new Promise<T>((fulfil, refuse) => {
    resolve = fulfil;
    reject = refuse;
  });
  return { promise, resolve, reject };
}
