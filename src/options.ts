/** Options are parsed once, at construction: defaults filled in, unknown names refused, every mistake listed. */
import { OptionsError } from "./errors.js";

/** What one option may be: its default, and a check that answers what is wrong, or nothing. */
export interface OptionRule<T> {
  readonly fallback: T;
  readonly check: (value: unknown) => string | undefined;
}

export type OptionRules<T extends object> = { readonly [K in keyof T]-?: OptionRule<T[K]> };

/**
 * Options as users write them: all optional, `undefined` meaning the default.
 */
export type Given<T extends object> = { readonly [K in keyof T]?: T[K] | undefined };

/** The longest delay that a Node timer can hold; a longer one would fire at once. */
export const MAX_TIMER_MS = 2 ** 31 - 1;

export function integer(fallback: number, min: number, max: number): OptionRule<number> {
  return {
    fallback,
    check: (value) =>
      Number.isInteger(value) && (value as number) >= min && (value as number) <= max
        ? undefined
        : `must be an integer from ${min} to ${max}`,
  };
}

/** A duration that a timer measures. */
export function durationMs(fallback: number, min = 1, max = MAX_TIMER_MS): OptionRule<number> {
  return integer(fallback, min, max);
}

export function flag(fallback: boolean): OptionRule<boolean> {
  return {
    fallback,
    check: (value) => (typeof value === "boolean" ? undefined : "must be true or false"),
  };
}

export function oneOf<const T extends string>(
  fallback: NoInfer<T>,
  values: readonly T[],
): OptionRule<T> {
  return {
    fallback,
    check: (value) =>
      (values as readonly unknown[]).includes(value)
        ? undefined
        : `must be one of ${values.map((name) => `'${name}'`).join(", ")}`,
  };
}

/** A function; `fallback` stands in where none is given. */
export function callback<T>(fallback: T): OptionRule<T> {
  return {
    fallback,
    check: (value) => (typeof value === "function" ? undefined : "must be a function"),
  };
}

/** Any value that `accepts`; `what` completes the sentence "must be …". */
export function custom<T>(
  fallback: T,
  what: string,
  accepts: (value: unknown) => boolean,
): OptionRule<T> {
  return { fallback, check: (given) => (accepts(given) ? undefined : `must be ${what}`) };
}

/**
 * Fills in defaults and refuses what cannot work.
 *
 * @param subject Whose options they are, to begin the message with.
 * @param relations Checks between options, run once each option is right by itself; yields what is wrong.
 * @throws {OptionsError} naming every mistake at once.
 */
export function parseOptions<T extends object>(
  subject: string,
  given: Given<T> | undefined,
  rules: OptionRules<T>,
  relations: (options: T) => Iterable<string> = () => [],
): T {
  if (given !== undefined && (typeof given !== "object" || given === null)) {
    // Not its value: it may be the secret that belongs into an option.
    throw new OptionsError(subject, [
      `options must be an object, got ${given === null ? "null" : `a ${typeof given}`}`,
    ]);
  }
  const known = Object.entries(rules) as [keyof T & string, OptionRule<unknown>][];
  const options: Partial<Record<keyof T, unknown>> = {};
  const mistakes = Object.keys(given ?? {})
    .filter((name) => !Object.hasOwn(rules, name))
    .map((name) => `unknown option ${show(name)}, known are ${known.map(([k]) => k).join(", ")}`);
  for (const [name, rule] of known) {
    const chosen: unknown = given?.[name];
    const wrong = chosen === undefined ? undefined : rule.check(chosen);
    if (wrong !== undefined) mistakes.push(`${name} ${wrong}, got ${show(chosen)}`);
    options[name] = chosen ?? rule.fallback;
  }
  const parsed = options as T;
  if (mistakes.length === 0) mistakes.push(...relations(parsed));
  if (mistakes.length > 0) throw new OptionsError(subject, mistakes);
  return Object.freeze(parsed);
}

/** Names a wrong value without dumping it: option values may be secrets or large. */
function show(value: unknown): string {
  if (typeof value === "number" || typeof value === "boolean" || value === null)
    return String(value);
  if (typeof value === "string") return `'${value.slice(0, 40)}'`;
  return typeof value;
}
