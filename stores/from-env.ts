/** `idempotency-kit/env`: the store and the options that the environment asks for. */
import type { Store } from "../src/store.js";
import { readEnvironment } from "./from-env/environment.js";
import { openStore } from "./from-env/open.js";
import type { MiddlewareOptions } from "./from-env/variables.js";

export type { MiddlewareOptions } from "./from-env/variables.js";

/**
 * Opens the store that `IDEMPOTENCY_STORE` names, so that another environment is another value and the same code:
 *
 * - `memory:` for one process; refused in production and in Lambda unless `IDEMPOTENCY_ALLOW_MEMORY=1`
 * - `redis://…`, `rediss://…`, `redis+sentinel://…`, `redis+cluster://…`: whatever `connectRedis` takes
 * - `redlock:` and an odd number of such URLs, one per region, separated by commas
 * - `dynamodb://table?region=…&endpoint=…`, all parameters optional
 *
 * The driver is loaded only now. Waits up to two seconds for connections. A store that cannot be reached is a process
 * warning (`IDEMPOTENCY_UNREACHABLE`), not a failure: it is asked again for every request, and those get 503 until it
 * answers. Its `close()` closes the connections as well.
 *
 * @param env Default: `process.env`.
 * @throws {OptionsError} naming every variable that is wrong, those of {@link optionsFromEnv} too, or the driver that is
 * not installed. No value is repeated but numbers that contradict each other.
 * @example
 * ```ts
 * import { idempotency } from "idempotency-kit";
 * import { optionsFromEnv, storeFromEnv } from "idempotency-kit/env";
 *
 * const store = await storeFromEnv();
 * const protect = idempotency(store, { required: true, ...optionsFromEnv() });
 * ```
 */
export async function storeFromEnv(env: NodeJS.ProcessEnv = process.env): Promise<Store> {
  const opened = await openStore(readEnvironment(env));
  for (const why of await opened.unreachable()) {
    process.emitWarning(
      `${why}. It is tried again; requests that need it get 503 until it answers. ` +
        "Check IDEMPOTENCY_STORE and the server, or run `npx idempotency-kit doctor`.",
      { code: "IDEMPOTENCY_UNREACHABLE" },
    );
  }
  return opened.store;
}

/**
 * The middleware's options that the environment sets, and no others: spread them over the code's own. An option's
 * variable has its name, `IDEMPOTENCY_LEASE_MS` for `leaseMs`; an empty one counts as unset.
 *
 * @param env Default: `process.env`.
 * @throws {OptionsError} as {@link storeFromEnv} does: all variables are checked together.
 */
export function optionsFromEnv(env: NodeJS.ProcessEnv = process.env): MiddlewareOptions {
  return readEnvironment(env).middlewareOptions;
}
