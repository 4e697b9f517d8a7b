/** `dynamodb create-table`: the table of the environment, for development. */
import { withDriver } from "../../stores/from-env/driver.js";
import { readEnvironment } from "../../stores/from-env/environment.js";
import { EXIT, UsageError, type Command } from "./command.js";

export const dynamodb: Command = {
  usage: "dynamodb create-table",
  summary: "creates the table that IDEMPOTENCY_STORE names, with TTL, or checks the one there",
  help: [],
  options: {},
  positionals: 1,
  run: async ({ positionals: [action], env }) => {
    if (action !== "create-table") throw new UsageError("dynamodb has one command: create-table.");
    const { target } = readEnvironment(env);
    if (target.kind !== "dynamodb") {
      throw new UsageError(`IDEMPOTENCY_STORE is ${target.kind}: set it to dynamodb://table.`);
    }
    const { tableName } = target.table;
    const { createTable } = await withDriver("dynamodb", () => import("../../stores/dynamodb.js"));
    const result = await createTable(target.table);
    const text =
      result === "created"
        ? `Created table ${tableName}.`
        : `Table ${tableName} is there, and fits.`;
    return { exitCode: EXIT.ok, json: { table: tableName, result }, text };
  },
};
