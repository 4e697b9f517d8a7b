#!/usr/bin/env node
/** `npx idempotency-kit <command>`: what operators need, for the store of the environment. */
import { readFileSync } from "node:fs";
import { parseArgs, type ParseArgsConfig } from "node:util";
import { IdempotencyError, OptionsError } from "../src/index.js";
import {
  EXIT,
  UsageError,
  type Command,
  type ExitCode,
  type Flags,
  type Result,
} from "./cli/command.js";
import { deleteKey } from "./cli/delete.js";
import { doctor } from "./cli/doctor.js";
import { dynamodb } from "./cli/dynamodb.js";
import { inspect } from "./cli/inspect.js";
import { list } from "./cli/list.js";
import { sweep } from "./cli/sweep.js";

const COMMANDS: Readonly<Record<string, Command>> = {
  doctor,
  inspect,
  list,
  delete: deleteKey,
  sweep,
  dynamodb,
};

const EVERYWHERE = {
  json: { type: "boolean" },
  help: { type: "boolean", short: "h" },
} as const;

const UNREACHABLE_ADVICE =
  "Check IDEMPOTENCY_STORE and the server; `npx idempotency-kit doctor` tells more.";

const args = process.argv.slice(2);
const isJson = args.includes("--json");

// A reader that has seen enough, such as `head`, is no failure.
process.stdout.on("error", () => process.exit(EXIT.ok));

try {
  const { exitCode, json, text } = await run(args);
  process.exitCode = exitCode;
  console.log(isJson ? JSON.stringify(json) : text);
} catch (error) {
  const { exitCode, code, errors } = failure(error);
  process.exitCode = exitCode;
  if (isJson) console.log(JSON.stringify({ ok: false, code, errors }));
  else console.error(errors.join("\n"));
}

async function run([name = "", ...rest]: readonly string[]): Promise<Result> {
  if (name === "" || name === "help" || name === "--help" || name === "-h") return told(usage());
  if (name === "--version") return told(version());
  const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (command === undefined) {
    throw new UsageError(`There is no command '${name}': ${Object.keys(COMMANDS).join(", ")}.`);
  }
  const { flags, positionals } = parsed(command, rest);
  if (flags["help"] === true) return told(usageOf(command));
  if (positionals.length !== command.positionals) throw new UsageError(usageOf(command));
  return await command.run({ flags, positionals, env: process.env });
}

function parsed(command: Command, rest: readonly string[]) {
  const config = {
    args: [...rest],
    options: { ...command.options, ...EVERYWHERE },
    allowPositionals: true,
  } satisfies ParseArgsConfig;
  try {
    const { values, positionals } = parseArgs(config);
    return { flags: values as Flags, positionals };
  } catch (error) {
    if (error instanceof TypeError) throw new UsageError(error.message);
    throw error;
  }
}

/** In words, without a stack: what happened, and what to do. */
function failure(error: unknown): { exitCode: ExitCode; code: string; errors: readonly string[] } {
  const { message } = error as Error;
  if (error instanceof UsageError) {
    return { exitCode: EXIT.usage, code: "USAGE", errors: [message] };
  }
  if (error instanceof OptionsError) {
    return { exitCode: EXIT.findings, code: error.code, errors: error.mistakes };
  }
  if (error instanceof IdempotencyError) {
    return { exitCode: EXIT.unreachable, code: error.code, errors: [message, UNREACHABLE_ADVICE] };
  }
  const bug = `This should not have happened, please report it: ${message}`;
  return { exitCode: EXIT.bug, code: "BUG", errors: [bug] };
}

function told(text: string): Result {
  return { exitCode: EXIT.ok, json: { text }, text };
}

function usage(): string {
  const commands = Object.values(COMMANDS).map((one) => `  ${one.usage.padEnd(23)}${one.summary}`);
  return `Usage: idempotency-kit <command> [options]

${commands.join("\n")}

The store is that of the environment: IDEMPOTENCY_STORE and its companions.
Every command takes --json, for scripts, and --help.
Exit codes: 0 done, 1 findings or nothing there, 2 the store cannot be reached, 64 wrong arguments.`;
}

function usageOf({ usage: arguments_, summary, help }: Command): string {
  const options = [...help, "--json           prints one JSON document"].map((line) => `  ${line}`);
  return `Usage: idempotency-kit ${arguments_} [options]\n\n${summary}\n\n${options.join("\n")}`;
}

function version(): string {
  const manifest = readFileSync(new URL("../../package.json", import.meta.url), "utf8");
  return (JSON.parse(manifest) as { version: string }).version;
}
