/** Options that are numbers. */
import { UsageError, type Flags } from "./command.js";

/** `undefined` where it was not given. */
export function wholeNumber(name: string, value: Flags[string], most: number): number | undefined {
  if (value === undefined) return undefined;
  const number = typeof value === "string" && /^\d{1,15}$/.test(value) ? Number(value) : 0;
  if (number >= 1 && number <= most) return number;
  throw new UsageError(`--${name} must be a whole number from 1 to ${most}.`);
}
