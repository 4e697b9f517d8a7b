/** `list`: which keys stand in the store, page by page. */
import type { Listed, ListPage } from "../../stores/listing.js";
import { readEnvironment } from "../../stores/from-env/environment.js";
import { EXIT, UsageError, type Command, type Result } from "./command.js";
import { wholeNumber } from "./number.js";
import { counted, grid, harmless, moment } from "./print.js";
import { withSharedStore } from "./with-store.js";

const DEFAULT_LIMIT = 100;
const MOST_KEYS = 10_000;

/** A keyspace that others fill may have few keys of the kit's; then a page ends here, and says where to go on. */
const PAGE_MS = 10_000;

export const list: Command = {
  usage: "list",
  summary: "lists the keys in the store, page by page, without their responses",
  help: [
    `--limit <n>      how many keys a page has, about; default ${DEFAULT_LIMIT}, at most ${MOST_KEYS}`,
    "--cursor <text>  where the page before ended",
  ],
  options: { limit: { type: "string" }, cursor: { type: "string" } },
  positionals: 0,
  run: async ({ flags, env }) => {
    const limit = wholeNumber("limit", flags["limit"], MOST_KEYS) ?? DEFAULT_LIMIT;
    const cursor = typeof flags["cursor"] === "string" ? flags["cursor"] : undefined;
    const environment = readEnvironment(env);
    return await withSharedStore(environment, async (opened, unreachable) => {
      if (opened.list === undefined) throw new UsageError("This store cannot be listed.");
      const page = await opened.list({ limit, limitMs: PAGE_MS, cursor });
      // Where there is one node alone, it was asked.
      return resultOf(page, environment.target.names.length > 1 ? unreachable : []);
    });
  },
};

function resultOf({ keys, cursor }: ListPage, unreachable: readonly string[]): Result {
  const count = counted(keys.length, "key");
  const end = cursor === undefined ? `${count}.` : `${count}, and more: --cursor ${cursor}`;
  const missed = unreachable.map((why) => `Left out: ${why}`);
  return {
    exitCode: EXIT.ok,
    json: { keys: keys.map(documented), cursor: cursor ?? null, leftOut: unreachable },
    text: [...(keys.length > 0 ? [tableOf(keys)] : []), ...missed, end].join("\n"),
  };
}

function documented({ endsAt, storedAt, ...rest }: Listed): Readonly<Record<string, unknown>> {
  return {
    ...rest,
    ...(storedAt === undefined ? {} : { storedAt: moment(storedAt) }),
    ...(endsAt === undefined ? {} : { endsAt: moment(endsAt) }),
  };
}

/** Only the columns that have something to say: a table of DynamoDB knows no status, one endpoint no votes. */
function tableOf(keys: readonly Listed[]): string {
  const cells: readonly (readonly [
    head: string,
    cell: (one: Listed) => string | number | undefined,
  ])[] = [
    ["Key", ({ key }) => harmless(key)],
    ["State", ({ state }) => state],
    ["Status", ({ statusCode }) => statusCode],
    ["Bytes", ({ bytes }) => bytes],
    ["Stored", ({ storedAt }) => storedAt && moment(storedAt)],
    ["Ends", ({ endsAt }) => endsAt && moment(endsAt)],
    ["Nodes", ({ nodes }) => nodes],
  ];
  const told = cells.filter(([, cell]) => keys.some((one) => cell(one) !== undefined));
  return grid([
    told.map(([head]) => head),
    ...keys.map((one) => told.map(([, cell]) => `${cell(one) ?? "-"}`)),
  ]);
}
