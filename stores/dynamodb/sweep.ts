/** Deletes what is over, where DynamoDB does not do it. */
import { DeleteItemCommand, ScanCommand } from "@aws-sdk/client-dynamodb";
import type { Given } from "../../src/options.js";
import { durationMs, custom, parseOptions } from "../../src/options.js";
import type { Calls } from "./calls.js";
import type { Item } from "./item.js";
import type { Register } from "./register.js";

export interface SweepSettings {
  /** No page is begun after this time, in milliseconds. Default: 60,000. */
  readonly limitMs: number;
  /** Where an earlier sweep ended. Default: from the beginning. */
  readonly cursor: string | undefined;
}

export type SweepOptions = Given<SweepSettings>;

export interface Swept {
  /** Items looked at; each costs read units by its size. */
  readonly scanned: number;
  readonly deleted: number;
  /** Where to go on; absent at the end of the table. */
  readonly cursor?: string;
}

interface Place {
  readonly tableName: string;
  readonly keyAttribute: string;
  readonly ttlAttribute: string;
  readonly prefix: string;
}

/** Items of a page, and with that its deletions at once. */
const PAGE_ITEMS = 50;

/** Only what the store wrote: the table may have other users. */
const OVER =
  "#ttl <= :now AND begins_with(#id, :prefix) AND (attribute_exists(#endsAt) OR attribute_exists(#part))";

/** One page after the other until the end or the limit. What is prolonged meanwhile stays. */
export async function sweepTable(
  calls: Calls,
  register: Register,
  place: Place,
  options: SweepOptions | undefined,
): Promise<Swept> {
  const { limitMs, cursor: start } = parseOptions<SweepSettings>("sweep", options, {
    limitMs: durationMs(60_000),
    cursor: custom<string | undefined>(undefined, "a cursor", (at) => typeof at === "string"),
  });
  const end = performance.now() + limitMs;
  const now = Math.floor((await register.over(calls.deadline())) / 1_000);
  let [scanned, deleted, cursor] = [0, 0, start];
  do {
    const page = await scan(calls, place, now, cursor);
    const removals = await Promise.all(page.ids.map((id) => remove(calls, place, now, id)));
    scanned += page.scanned;
    deleted += removals.filter(Boolean).length;
    cursor = page.cursor;
  } while (cursor !== undefined && performance.now() < end);
  return { scanned, deleted, ...(cursor === undefined ? {} : { cursor }) };
}

async function scan(calls: Calls, place: Place, now: number, cursor: string | undefined) {
  const { tableName: TableName, keyAttribute, prefix } = place;
  const output = await calls.send(
    ScanCommand,
    {
      TableName,
      Limit: PAGE_ITEMS,
      FilterExpression: prefix === "" ? OVER.replace("begins_with(#id, :prefix) AND ", "") : OVER,
      ProjectionExpression: "#id",
      ExpressionAttributeNames: { ...namesOf(place), "#endsAt": "endsAt", "#part": "part" },
      ExpressionAttributeValues: {
        ":now": { N: `${now}` },
        ...(prefix === "" ? {} : { ":prefix": { S: prefix } }),
      },
      ...(cursor === undefined ? {} : { ExclusiveStartKey: { [keyAttribute]: { S: cursor } } }),
    },
    calls.deadline(),
    true,
  );
  const idOf = (item: Item | undefined) => item?.[keyAttribute]?.S;
  return {
    ids: (output.Items ?? []).map(idOf).filter((id) => id !== undefined),
    scanned: output.ScannedCount ?? 0,
    cursor: idOf(output.LastEvaluatedKey),
  };
}

async function remove(calls: Calls, place: Place, now: number, id: string): Promise<boolean> {
  const { "#ttl": ttl } = namesOf(place);
  const input = {
    TableName: place.tableName,
    Key: { [place.keyAttribute]: { S: id } },
    ConditionExpression: "#ttl <= :now",
    ExpressionAttributeNames: { "#ttl": ttl },
    ExpressionAttributeValues: { ":now": { N: `${now}` } },
    ReturnValuesOnConditionCheckFailure: "ALL_OLD" as const,
  };
  try {
    await calls.send(DeleteItemCommand, input, calls.deadline());
    return true;
  } catch (error) {
    if ((error as Error).name !== "ConditionalCheckFailedException") throw error;
    // What is gone went by an attempt of ours that was not heard of; what stands there was prolonged.
    return (error as { Item?: Item }).Item === undefined;
  }
}

function namesOf({ keyAttribute, ttlAttribute }: Place) {
  return { "#id": keyAttribute, "#ttl": ttlAttribute };
}
