/** A handler behind the middleware, counting its runs. */
import type { ServerResponse } from "node:http";
import { idempotency, type HttpOptions, type Store } from "../../src/index.js";
import { memoryStore } from "../../stores/memory.js";

export type Respond = (res: ServerResponse) => unknown;

export function counting(
  respond: (res: ServerResponse, run: number) => unknown,
  options: Partial<HttpOptions> = {},
  store: Store = memoryStore(),
) {
  let runs = 0;
  const errors: unknown[] = [];
  const safe = idempotency(store, { onError: (error) => errors.push(error), ...options });
  const listener = safe.wrap((_, res) => {
    runs += 1;
    return respond(res, runs);
  });
  return { listener, errors, runs: () => runs };
}
