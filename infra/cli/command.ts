/** What a command of the tool is: from arguments and environment to one result, which is printed in one place. */
import type { ParseArgsConfig } from "node:util";

/** What scripts may rely on; documented in docs/operating.md. 64 and 70 are `EX_USAGE` and `EX_SOFTWARE` of sysexits.h. */
export const EXIT = {
  ok: 0,
  /** The environment is misconfigured, the store promises too little, or what was asked for is not there. */
  findings: 1,
  /** The store cannot be reached, or failed. */
  unreachable: 2,
  usage: 64,
  /** A bug of the tool. */
  bug: 70,
} as const;

export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

export type Flags = Readonly<Record<string, string | boolean | undefined>>;

export interface Input {
  readonly positionals: readonly string[];
  readonly flags: Flags;
  readonly env: NodeJS.ProcessEnv;
}

export interface Result {
  readonly exitCode: ExitCode;
  /** For `--json`. */
  readonly json: Readonly<Record<string, unknown>>;
  /** For people. */
  readonly text: string;
}

export interface Command {
  /** Its arguments, after its name. */
  readonly usage: string;
  /** One line for the list of commands. */
  readonly summary: string;
  /** Its own options, one line each. */
  readonly help: readonly string[];
  readonly options: NonNullable<ParseArgsConfig["options"]>;
  /** How many arguments it takes, options aside. */
  readonly positionals: number;
  readonly run: (input: Input) => Promise<Result>;
}

/** Arguments that cannot be meant; the message says what to change. */
export class UsageError extends Error {}
