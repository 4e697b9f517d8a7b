/** How long and how often is measured, and what. */
import { parseArgs } from "node:util";

export interface Settings {
  readonly rounds: number;
  readonly seconds: number;
  readonly warmUpSeconds: number;
  /** Of each kind, at least. */
  readonly warmUpRequests: number;
  /** Parts of names of measures, groups or subjects; empty for all. */
  readonly only: readonly string[];
  readonly quick: boolean;
}

export function parseSettings(args: readonly string[]): Settings {
  const { values } = parseArgs({
    args: [...args],
    options: {
      only: { type: "string", multiple: true, default: [] },
      rounds: { type: "string" },
      seconds: { type: "string" },
      quick: { type: "boolean", default: false },
    },
  });
  const { quick } = values;
  const seconds = positive("seconds", values.seconds, quick ? 0.5 : 3);
  return {
    quick,
    rounds: Math.ceil(positive("rounds", values.rounds, quick ? 1 : 5)),
    seconds,
    // The optimising compiler goes by calls: what it has not seen often enough would be measured as slow.
    warmUpSeconds: Math.min(seconds, 1.5),
    warmUpRequests: quick ? 0 : 10_000,
    only: values.only.flatMap((names) => names.split(",")),
  };
}

/** Whether `--only` asks for this, by any of its names. */
export function wanted({ only }: Settings, ...names: readonly string[]): boolean {
  return only.length === 0 || only.some((part) => names.some((name) => name.includes(part)));
}

function positive(name: string, text: string | undefined, fallback: number): number {
  const value = text === undefined ? fallback : Number(text);
  if (value > 0) return value;
  throw new Error(`--${name} must be a positive number, got '${text}'.`);
}
