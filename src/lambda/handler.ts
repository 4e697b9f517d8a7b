/** Handlers of HTTP requests. */
import { parseDoorOptions } from "../door/options.js";
import { OptionsError } from "../errors.js";
import type { Given } from "../options.js";
import type { Store } from "../store.js";
import type { LambdaAnswer } from "./answer.js";
import type { IdempotentContext, LambdaContext } from "./context.js";
import { LambdaDoor, type LambdaOptions } from "./door.js";
import type { HttpEvent } from "./event.js";

/** By which the runtime knows a handler of `awslambda.streamifyResponse`. */
const STREAMING = Symbol.for("aws.lambda.runtime.handler.streaming");

/**
 * Makes retries safe of a handler of HTTP requests: from API Gateway (REST, HTTP API), a function URL or a load balancer.
 * The options are those of `idempotency`; `Original` is the event.
 *
 * Refusals are answers with a problem document, in the form that the event asks for. What the handler throws frees the key
 * and is thrown. No lease reaches beyond the invocation (`context.getRemainingTimeInMillis()`), and nothing is left to do
 * when the answer is there. While the handler runs under a key, it finds `context.idempotency`.
 *
 * A response that streams leaves before it could be stored, so handlers of `awslambda.streamifyResponse` are refused;
 * so are those that take a callback, which Lambda has given up in Node 24.
 *
 * @param handler Returns its response, or a promise of it. Its `this` is kept.
 * @throws {OptionsError} at once, naming every mistake.
 * @example
 * import { idempotentHandler } from "idempotency-kit/lambda";
 * import { memoryStore } from "idempotency-kit/memory";
 *
 * export const handler = idempotentHandler(
 *   async () => ({ statusCode: 201, body: "charged once" }),
 *   memoryStore(), // one process; use a store that all instances share
 *   { required: true },
 * );
 */
export function idempotentHandler<
  This,
  Result,
  Event extends HttpEvent = HttpEvent,
  Context = LambdaContext,
>(
  handler: (this: This, event: Event, context: Context & IdempotentContext, other: never) => Result,
  store: Store,
  options?: Given<LambdaOptions<Event>>,
): (this: This, event: Event, context: Context) => Promise<Awaited<Result> | LambdaAnswer> {
  refuseOtherStyles("idempotentHandler", handler);
  const parsed = parseDoorOptions<Event>("idempotentHandler", options);
  const door = new LambdaDoor<Event>(store, parsed);

  return async function idempotentLambda(
    this: This,
    event: Event,
    context: Context,
    ...others: unknown[]
  ): Promise<Awaited<Result> | LambdaAnswer> {
    refuseStream(context);
    const answer = await door.answer(event, context, (seen) =>
      Reflect.apply(handler as (...args: unknown[]) => unknown, this, [event, seen, ...others]),
    );
    return answer as Awaited<Result> | LambdaAnswer;
  };
}

function refuseOtherStyles(subject: string, handler: unknown): void {
  const mistakes: string[] = [];
  if (typeof handler !== "function") mistakes.push("the handler must be a function");
  else if (STREAMING in handler) {
    mistakes.push(
      "the handler streams its response, which can then not be stored before it is sent: return it",
    );
  } else if (handler.length > 2) {
    mistakes.push("the handler takes a callback: let it return its response, or a promise of it");
  }
  if (mistakes.length > 0) throw new OptionsError(subject, mistakes);
}

/** `streamifyResponse` around this handler would pass a stream where the context is expected. */
function refuseStream(context: unknown): void {
  if (typeof (context as { write?: unknown } | undefined)?.write === "function") {
    throw new OptionsError("idempotentHandler", [
      "it was called with a response stream: do not wrap it in awslambda.streamifyResponse",
    ]);
  }
}
