/** The standard decorator of class methods. */
import { OptionsError } from "../errors.js";
import type { Given } from "../options.js";
import type { Store } from "../store.js";
import type { LambdaOptions } from "./door.js";
import type { HttpEvent } from "./event.js";
import { idempotentFunction } from "./function.js";
import type { GivenFunctionOptions } from "./function-door.js";
import { idempotentHandler } from "./handler.js";

/** Of the method of a class; it keeps the method's type, so the method has to return a promise already. */
type MethodDecorator<Args extends readonly unknown[]> = <
  This,
  Method extends (this: This, ...args: Args) => Promise<unknown>,
>(
  method: Method,
  context: ClassMethodDecoratorContext<This, Method>,
) => Method;

/**
 * A standard decorator (TypeScript 5 and newer, without `experimentalDecorators`): with `key` among the options the method
 * becomes an `idempotentFunction`, otherwise an `idempotentHandler`. All instances of the class share the store.
 *
 * @throws {OptionsError} when the class is defined, naming every mistake.
 * @example
 * import { idempotent } from "idempotency-kit/lambda";
 * import { memoryStore } from "idempotency-kit/memory";
 *
 * const store = memoryStore();
 * class Payments {
 *   // @idempotent(store, { name: "charge", key: (order: { id: string }) => order.id })
 *   async charge(order: { id: string }) { return { charged: order.id }; }
 * }
 */
export function idempotent<Args extends readonly unknown[]>(
  store: Store,
  options: GivenFunctionOptions<Args>,
): MethodDecorator<Args>;
export function idempotent<Event extends HttpEvent = HttpEvent>(
  store: Store,
  options?: Given<LambdaOptions<Event>>,
): MethodDecorator<[event: Event, context: never]>;
export function idempotent(
  store: Store,
  options?: Given<LambdaOptions> | GivenFunctionOptions<readonly unknown[]>,
): unknown {
  return (method: (...args: never[]) => Promise<unknown>, context?: unknown) => {
    refuseLegacyCall(context);
    return options !== undefined && "key" in options
      ? idempotentFunction(method, store, options as GivenFunctionOptions<never[]>)
      : idempotentHandler(method, store, options);
  };
}

/** Legacy decorators get the class and the method's name, and would leave the method as it is. */
function refuseLegacyCall(context: unknown): void {
  if ((context as { kind?: unknown } | undefined)?.kind === "method") return;
  throw new OptionsError("idempotent", [
    "it is a standard decorator of methods: compile without experimentalDecorators, or wrap the function in " +
      "idempotentHandler or idempotentFunction",
  ]);
}
