/** `sweep`: deletes what is over, from a table whose items DynamoDB does not expire. */
import { MAX_TIMER_MS } from "../../src/options.js";
import { readEnvironment } from "../../stores/from-env/environment.js";
import { EXIT, UsageError, type Command } from "./command.js";
import { wholeNumber } from "./number.js";
import { withStore } from "./with-store.js";

export const sweep: Command = {
  usage: "sweep",
  summary: "deletes what is over from a DynamoDB table without TTL",
  help: [
    "--limit-ms <ms>  stops after this time, and says where; default: at the end of the table",
    "--cursor <text>  where an earlier sweep stopped",
  ],
  options: { "limit-ms": { type: "string" }, cursor: { type: "string" } },
  positionals: 0,
  run: async ({ flags, env }) => {
    const limitMs = wholeNumber("limit-ms", flags["limit-ms"], MAX_TIMER_MS) ?? MAX_TIMER_MS;
    const start = typeof flags["cursor"] === "string" ? flags["cursor"] : undefined;
    const environment = readEnvironment(env);
    return await withStore(environment, async (opened) => {
      if (opened.sweep === undefined) {
        throw new UsageError(
          `IDEMPOTENCY_STORE is ${environment.target.kind}, which deletes what is over by itself.`,
        );
      }
      const { scanned, deleted, cursor } = await opened.sweep({ limitMs, cursor: start });
      const more = cursor === undefined ? "" : `\nThere is more: --cursor ${cursor}`;
      return {
        exitCode: EXIT.ok,
        json: { scanned, deleted, cursor: cursor ?? null },
        text: `Deleted ${deleted} of ${scanned} items; the others are not over.${more}`,
      };
    });
  },
};
