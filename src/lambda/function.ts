/** Functions whose calls have a key. */
import { OptionsError } from "../errors.js";
import { parseOptions } from "../options.js";
import type { Store } from "../store.js";
import {
  FunctionDoor,
  functionRelations,
  functionRules,
  type FunctionOptions,
  type GivenFunctionOptions,
} from "./function-door.js";

/**
 * Makes retries safe of any function whose calls have a key: a record of a queue, an event, a job. The first call runs,
 * every later one with its key gets its result.
 *
 * - In progress elsewhere: `RequestInProgressError`. Another fingerprint: `KEY_REUSED`.
 * - What the function throws frees the key and is thrown.
 * - Results are kept as JSON, and every caller gets a copy. One that JSON would not give back as it was (a Date, a Map, a
 *   class, NaN, a BigInt) fails with `RESPONSE_NOT_KEPT` before success is reported; as the function ran, no later call
 *   runs it again.
 * - Where one of the arguments is the context of a Lambda, no lease reaches beyond its invocation, and the function gets a
 *   context with `idempotency` in its place.
 *
 * @param fn Returns its result, or a promise of it. Its `this` is kept.
 * @throws {OptionsError} at once, naming every mistake.
 * @example
 * import { idempotentFunction } from "idempotency-kit/lambda";
 * import { memoryStore } from "idempotency-kit/memory";
 *
 * // An EventBridge rule: the id of an event is the same however often it is delivered.
 * export const handler = idempotentFunction(
 *   async (event: { id: string; detail: { orderId: string } }) => ({ shipped: event.detail.orderId }),
 *   memoryStore(),
 *   { name: "ship", key: (event) => event.id },
 * );
 */
export function idempotentFunction<This, Args extends readonly unknown[], Result>(
  fn: (this: This, ...args: Args) => Result,
  store: Store,
  options: GivenFunctionOptions<Args>,
): (this: This, ...args: Args) => Promise<Awaited<Result>> {
  if (typeof fn !== "function") {
    throw new OptionsError("idempotentFunction", ["the first argument must be a function"]);
  }
  const parsed = parseOptions<FunctionOptions<Args>>(
    "idempotentFunction",
    options,
    functionRules<Args>(options),
    (all) => functionRelations(options, all),
  );
  const door = new FunctionDoor<Args>(store, parsed);

  return async function idempotentCall(this: This, ...args: Args): Promise<Awaited<Result>> {
    const result = await door.call(args, (...seen) => Reflect.apply(fn, this, seen));
    return result as Awaited<Result>;
  };
}
