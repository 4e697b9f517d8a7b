/** The store's table, made for development as `infra/table.yml` makes it for production. */
import { setTimeout as delay } from "node:timers/promises";
import {
  CreateTableCommand,
  DescribeTableCommand,
  DescribeTimeToLiveCommand,
  UpdateTimeToLiveCommand,
  type TableDescription,
} from "@aws-sdk/client-dynamodb";
import { OptionsError, StoreUnavailableError } from "../../src/errors.js";
import { Calls } from "./calls.js";
import { storeError } from "./errors.js";
import type { TableSettings } from "./options.js";

/** Management requests are slower than those for items, and throttled to a few a second. */
const TIMEOUTS = { timeoutMs: 30_000, requestTimeoutMs: 5_000 };

/** A new table takes some ten seconds. */
const ACTIVE_TIMEOUT_MS = 120_000;
const POLL_MS = 500;

/**
 * Makes sure that the table exists, is active and expires its items: creates it with on-demand billing where it does
 * not, and turns TTL on. What is there is checked and not changed otherwise.
 */
export async function ensureTable(settings: TableSettings): Promise<"created" | "found"> {
  const calls = new Calls({ ...settings, ...TIMEOUTS });
  try {
    const existing = await describe(calls, settings);
    if (existing === undefined) await create(calls, settings);
    const mistakes = keyMistakes(await untilActive(calls, settings), settings);
    if (mistakes.length > 0) throw new OptionsError(`table '${settings.tableName}'`, mistakes);
    if (settings.expiry === "ttl") await expire(calls, settings);
    return existing === undefined ? "created" : "found";
  } catch (error) {
    throw error instanceof OptionsError ? error : storeError(error);
  } finally {
    calls.close();
  }
}

async function describe(
  calls: Calls,
  { tableName: TableName }: TableSettings,
): Promise<TableDescription | undefined> {
  try {
    const output = await calls.send(DescribeTableCommand, { TableName }, calls.deadline());
    return output.Table;
  } catch (error) {
    if ((error as Error).name === "ResourceNotFoundException") return undefined;
    throw error;
  }
}

async function create(calls: Calls, { tableName, keyAttribute }: TableSettings): Promise<void> {
  const input = {
    TableName: tableName,
    BillingMode: "PAY_PER_REQUEST" as const,
    KeySchema: [{ AttributeName: keyAttribute, KeyType: "HASH" as const }],
    AttributeDefinitions: [{ AttributeName: keyAttribute, AttributeType: "S" as const }],
  };
  try {
    await calls.send(CreateTableCommand, input, calls.deadline());
  } catch (error) {
    // Somebody else creates it at this moment, or an attempt of ours did that was not heard of.
    if ((error as Error).name !== "ResourceInUseException") throw error;
  }
}

async function untilActive(calls: Calls, settings: TableSettings): Promise<TableDescription> {
  const deadline = performance.now() + ACTIVE_TIMEOUT_MS;
  for (;;) {
    const table = await describe(calls, settings);
    if (table?.TableStatus === "ACTIVE" || table?.TableStatus === "UPDATING") return table;
    if (performance.now() > deadline) {
      throw new StoreUnavailableError(
        `Table '${settings.tableName}' is not active after ${ACTIVE_TIMEOUT_MS} ms (${table?.TableStatus}).`,
      );
    }
    await delay(POLL_MS);
  }
}

/** What is wrong with the key of a table that exists. */
export function keyMistakes(
  { KeySchema = [], AttributeDefinitions = [] }: TableDescription,
  { keyAttribute }: TableSettings,
): string[] {
  const keys = KeySchema.map(({ AttributeName = "", KeyType = "" }) => {
    const type = AttributeDefinitions.find((one) => one.AttributeName === AttributeName);
    return `${AttributeName} (${KeyType}, ${type?.AttributeType})`;
  });
  const wanted = `${keyAttribute} (HASH, S)`;
  return keys.join() === wanted
    ? []
    : [
        `its key is ${keys.join(" and ")}, and must be ${wanted} alone: set keyAttribute, or take another table`,
      ];
}

async function expire(calls: Calls, settings: TableSettings): Promise<void> {
  if (await expires(calls, settings)) return;
  const { tableName: TableName, ttlAttribute } = settings;
  const TimeToLiveSpecification = { Enabled: true, AttributeName: ttlAttribute };
  try {
    const input = { TableName, TimeToLiveSpecification };
    await calls.send(UpdateTimeToLiveCommand, input, calls.deadline());
  } catch (error) {
    // Somebody else turned it on meanwhile, or an attempt of ours did that was not heard of.
    if (!(await expires(calls, settings))) throw error;
  }
}

/** @throws {OptionsError} where it does so by another attribute. */
async function expires(
  calls: Calls,
  { tableName: TableName, ttlAttribute }: TableSettings,
): Promise<boolean> {
  const output = await calls.send(DescribeTimeToLiveCommand, { TableName }, calls.deadline());
  const { TimeToLiveStatus: status, AttributeName: attribute } = output.TimeToLiveDescription ?? {};
  if (status !== "ENABLED" && status !== "ENABLING") return false;
  if (attribute === ttlAttribute) return true;
  throw new OptionsError(`table '${TableName}'`, [
    `its TTL attribute is '${attribute}': set ttlAttribute to that`,
  ]);
}
