/** What stands in a table, by `Scan`: of each key's item what tells its state, and nothing of a response. */
import { ScanCommand } from "@aws-sdk/client-dynamodb";
import type { Listed, ListPage, ListRequest } from "../listing.js";
import { Calls } from "./calls.js";
import { storeError } from "./errors.js";
import type { Item } from "./item.js";
import { parseStoreOptions, type DynamodbOptions, type DynamodbSettings } from "./options.js";
import { Register } from "./register.js";

/** Reads no more than the keys that are still to be listed may take, or a page of a megabyte. */
const MOST_AT_ONCE = 1_000;

/** Only what counts still, and what the store wrote as the item of a key: the table may have other users. */
const LIVE = "#endsAt > :now AND attribute_exists(#state)";
const OWN = "begins_with(#id, :prefix)";

/**
 * Keys that are neither held nor completed any more are left out. What comes or goes meanwhile may be listed or not.
 *
 * @throws {StoreUnavailableError} where DynamoDB failed or refused; it takes the permission `dynamodb:Scan`.
 */
export async function listTable(
  options: DynamodbOptions,
  { limit, limitMs, cursor: start }: ListRequest,
): Promise<ListPage> {
  const settings = parseStoreOptions(options);
  const calls = new Calls(settings);
  const end = performance.now() + limitMs;
  try {
    const now = await new Register(calls, settings).over(calls.deadline());
    const keys: Listed[] = [];
    let cursor = start;
    do {
      const most = Math.min(limit - keys.length, MOST_AT_ONCE);
      const page = await scan(calls, settings, now, most, cursor);
      keys.push(...page.items.map((item) => describe(item, settings)));
      cursor = page.cursor;
    } while (cursor !== undefined && keys.length < limit && performance.now() < end);
    return { keys, ...(cursor === undefined ? {} : { cursor }) };
  } catch (error) {
    throw storeError(error);
  } finally {
    calls.close();
  }
}

async function scan(
  calls: Calls,
  { tableName: TableName, keyAttribute, prefix }: DynamodbSettings,
  now: number,
  most: number,
  cursor: string | undefined,
) {
  const names = { "#id": keyAttribute, "#state": "state", "#endsAt": "endsAt", "#size": "size" };
  const input = {
    TableName,
    Limit: most,
    ConsistentRead: true,
    FilterExpression: prefix === "" ? LIVE : `${LIVE} AND ${OWN}`,
    ProjectionExpression: Object.keys(names).join(", "),
    ExpressionAttributeNames: names,
    ExpressionAttributeValues: {
      ":now": { N: `${now}` },
      ...(prefix === "" ? {} : { ":prefix": { S: prefix } }),
    },
    ...(cursor === undefined ? {} : { ExclusiveStartKey: { [keyAttribute]: { S: cursor } } }),
  };
  const output = await calls.send(ScanCommand, input, calls.deadline(), true);
  const items: readonly Item[] = output.Items ?? [];
  return { items, cursor: output.LastEvaluatedKey?.[keyAttribute]?.S };
}

function describe(item: Item, { keyAttribute, prefix }: DynamodbSettings): Listed {
  const key = item[keyAttribute]?.S?.slice(prefix.length) ?? "";
  const endsAt = Number(item["endsAt"]?.N);
  const state = item["state"]?.S;
  if (state === "held") return { key, state, endsAt };
  if (state === "completed") return { key, state, endsAt, bytes: Number(item["size"]?.N) };
  return { key, state: "unknown", endsAt };
}
