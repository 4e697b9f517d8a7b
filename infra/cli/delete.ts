/** `delete <key>`: frees a client's key, whatever stands there. */
import { createInterface } from "node:readline/promises";
import { readEnvironment } from "../../stores/from-env/environment.js";
import { EXIT, UsageError, type Command, type Result } from "./command.js";
import { described, notFound } from "./inspect.js";
import { KEY_HELP, KEY_OPTIONS, storedKeyOf } from "./stored-key.js";
import { withSharedStore } from "./with-store.js";

const CONSEQUENCE =
  "A retry of this request will be executed again; one that still runs loses its right to the key.";

export const deleteKey: Command = {
  usage: "delete <key>",
  summary: "frees a client's key, so that a retry is executed again",
  help: [...KEY_HELP, "--yes            does not ask first"],
  options: { ...KEY_OPTIONS, yes: { type: "boolean" } },
  positionals: 1,
  run: async ({ positionals: [key = ""], flags, env }) => {
    const stored = storedKeyOf(key, flags);
    const isAsked = flags["yes"] !== true;
    if (isAsked && !process.stdin.isTTY) {
      throw new UsageError(`${CONSEQUENCE} Where nobody can be asked, confirm with --yes.`);
    }
    return await withSharedStore(readEnvironment(env), async ({ store }) => {
      if (isAsked) {
        const response = await store.get(stored);
        const what = response === undefined ? `Key  ${stored}` : described(stored, response);
        if (!(await confirmed(what))) return outcome(stored, false, "Nothing was deleted.");
      }
      const deleted = await store.delete(stored);
      return deleted ? outcome(stored, true, `Deleted ${stored}.`) : notFound(stored);
    });
  },
};

function outcome(key: string, deleted: boolean, text: string): Result {
  return { exitCode: deleted ? EXIT.ok : EXIT.findings, json: { deleted, key }, text };
}

/** Asks on standard error: standard output is for results. */
async function confirmed(what: string): Promise<boolean> {
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  try {
    const answer = await terminal.question(`${what}\n${CONSEQUENCE}\nDelete it? [y/N] `);
    return /^y(es)?$/i.test(answer.trim());
  } finally {
    terminal.close();
  }
}
