/** What the environment says about how to run the server, checked as a whole before anything starts. */
import { OptionsError } from "../src/index.js";
import { optionsFromEnv, type MiddlewareOptions } from "../stores/from-env.js";

export interface Settings {
  readonly host: string;
  readonly port: number;
  /** Of the middleware. */
  readonly options: MiddlewareOptions;
  /** Of which kind the store is, without where it is: its URL may hold a password. */
  readonly storeName: string;
  /** For `storeFromEnv`. */
  readonly env: NodeJS.ProcessEnv;
}

/** @throws {OptionsError} naming every variable that is wrong. */
export function parseSettings(environment: NodeJS.ProcessEnv): Settings {
  // Without a word about a store, the demo is one process that forgets.
  const env: NodeJS.ProcessEnv = {
    ...environment,
    IDEMPOTENCY_STORE: environment["IDEMPOTENCY_STORE"] || "memory:",
  };
  const mistakes: string[] = [];
  const options = collected(mistakes, () => optionsFromEnv(env)) ?? {};
  const text = env["PORT"] || "3000";
  const port = /^\d{1,5}$/.test(text) ? Number(text) : Number.NaN;
  if (!(port <= 65_535)) mistakes.push("PORT must be an integer from 0 to 65535");
  if (mistakes.length > 0) throw new OptionsError("The environment", mistakes);
  const [storeName = ""] = env["IDEMPOTENCY_STORE"]?.split(":") ?? [];
  return { host: env["HOST"] || "127.0.0.1", port, options, storeName, env };
}

/** Adds to `mistakes` what is wrong, instead of throwing it. */
function collected<T>(mistakes: string[], read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof OptionsError)) throw error;
    mistakes.push(...error.mistakes);
    return undefined;
  }
}
