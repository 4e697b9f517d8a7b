/** The environment as a whole: every variable is read before anything is opened, and all mistakes are told at once. */
import { OptionsError } from "../../src/errors.js";
import { protocolRelations, type ProtocolOptions } from "../../src/idempotency/options.js";
import { nearest } from "./nearest.js";
import { CHOICES, parseStore, type StoreTarget } from "./target.js";
import {
  HEEDED_BY,
  inVariables,
  MIDDLEWARE,
  STORE,
  STORE_VARIABLE,
  unknownVariables,
  variableOf,
  VARIABLES,
  type MiddlewareOptions,
  type StoreOptions,
  type Variable,
} from "./variables.js";

export interface Environment {
  readonly target: StoreTarget;
  readonly storeOptions: StoreOptions;
  readonly middlewareOptions: MiddlewareOptions;
  /** Variables that are set and that the chosen store has no use for. */
  readonly idle: readonly string[];
}

/** @throws {OptionsError} naming every variable that is wrong; it repeats no value, for any may hold a secret. */
export function readEnvironment(env: NodeJS.ProcessEnv): Environment {
  const mistakes = unknownVariables(env).map((name) => {
    return `${name} is unknown; did you mean ${nearest(name, VARIABLES)}?`;
  });
  const storeOptions: StoreOptions = read(STORE, env, mistakes);
  const middlewareOptions: MiddlewareOptions = read(MIDDLEWARE, env, mistakes);
  // For what is not given the code may have defaults of its own, so only what is given is compared here: nothing exceeds
  // `undefined`. The middleware compares again when it has them all.
  const contradictions = protocolRelations(middlewareOptions as ProtocolOptions);
  mistakes.push(...[...contradictions].map(inVariables));
  const target = targetOf(env, storeOptions, mistakes);
  if (target === undefined || mistakes.length > 0) throw mistaken(mistakes);
  const idle = Object.entries(HEEDED_BY)
    .filter(
      ([option, kinds]) => Object.hasOwn(storeOptions, option) && !kinds.includes(target.kind),
    )
    .map(([option]) => variableOf(option));
  return { target, storeOptions, middlewareOptions, idle };
}

export function mistaken(mistakes: readonly string[]): OptionsError {
  return new OptionsError("The environment", mistakes);
}

/** Only what is set and right: an empty variable is unset, as in shells, and what is wrong is compared with nothing. */
function read(
  variables: Readonly<Record<string, Variable<unknown>>>,
  env: NodeJS.ProcessEnv,
  mistakes: string[],
): Readonly<Record<string, unknown>> {
  const given = Object.entries(variables).flatMap(([option, { read: valueOf, rule }]) => {
    const text = env[variableOf(option)]?.trim();
    if (!text) return [];
    const value = valueOf(text);
    const wrong = rule.check(value);
    if (wrong === undefined) return [[option, value] as const];
    mistakes.push(`${variableOf(option)} ${wrong}`);
    return [];
  });
  return Object.fromEntries(given);
}

function targetOf(
  env: NodeJS.ProcessEnv,
  { allowMemory = false }: StoreOptions,
  mistakes: string[],
): StoreTarget | undefined {
  const url = env[STORE_VARIABLE]?.trim();
  if (!url) {
    mistakes.push(`${STORE_VARIABLE} is not set: it must be ${CHOICES}`);
    return undefined;
  }
  const parsed = parseStore(url);
  if (!parsed.ok) {
    mistakes.push(...parsed.mistakes.map((mistake) => `${STORE_VARIABLE}: ${mistake}`));
    return undefined;
  }
  const shared = sharedBy(env);
  if (parsed.target.kind === "memory" && shared !== undefined && !allowMemory) {
    mistakes.push(
      `${STORE_VARIABLE}: memory: is one process's own, and ${shared}: other processes would execute its requests again. ` +
        `Choose a store that they share, or set ${variableOf("allowMemory")}=1 where there is only one`,
    );
  }
  return parsed.target;
}

/** Why several processes are to be expected. */
function sharedBy(env: NodeJS.ProcessEnv): string | undefined {
  if (env["AWS_LAMBDA_FUNCTION_NAME"]) return "Lambda runs one for each request at a time";
  return env["NODE_ENV"] === "production" ? "NODE_ENV is production" : undefined;
}
