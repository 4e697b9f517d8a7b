/** A table, clients and stores on DynamoDB Local, and what tests do behind a store's back. */
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import {
  DynamoDBClient,
  GetItemCommand,
  PutItemCommand,
  paginateScan,
  type AttributeValue,
  type DynamoDBClientConfig,
} from "@aws-sdk/client-dynamodb";
import { describe, expect, it, onTestFinished } from "vitest";
import { startDynamodb, type DynamodbLocal } from "../../infra/services/dynamodb.js";
import type { StoreUnderTest } from "../../src/testing.js";
import { createTable, dynamodbStore, type DynamodbOptions } from "../../stores/dynamodb.js";
import { startProxy, type FaultProxy, type Match } from "../support/fault-proxy.js";

// What a store's own client sends, and DynamoDB Local does not check.
process.env["AWS_ACCESS_KEY_ID"] ??= "anyone";
process.env["AWS_SECRET_ACCESS_KEY"] ??= "anything";

/** Any will do. */
export const REGION = "us-east-1";

/** For slow machines and many tests at once: only what hangs shall run into a limit. */
export const PATIENT = { timeoutMs: 15_000, requestTimeoutMs: 5_000 };

export type Item = Record<string, AttributeValue>;

export interface Stage {
  readonly server: DynamodbLocal;
  readonly tableName: string;
  /** For looking and meddling. */
  readonly client: DynamoDBClient;
  close(): Promise<void>;
}

/** One server with one table, for a whole file. */
export async function openStage(): Promise<Stage> {
  const server = await startDynamodb();
  const client = clientOf(server.url);
  const tableName = `idempotency-${randomUUID()}`;
  await createTable({ tableName, client });
  return {
    server,
    tableName,
    client,
    close: async () => {
      client.destroy();
      await server.close();
    },
  };
}

export function clientOf(endpoint: string, config: DynamoDBClientConfig = {}): DynamoDBClient {
  return new DynamoDBClient({ region: REGION, endpoint, ...config });
}

/** A store with a client of its own, closed with the test. */
export function storeOn(
  { server, tableName }: Pick<Stage, "server" | "tableName">,
  options: Partial<DynamodbOptions> = {},
) {
  const own = options.client === undefined ? { region: REGION, endpoint: server.url } : {};
  const store = dynamodbStore({ tableName, ...own, ...PATIENT, ...options });
  onTestFinished(() => store.close?.());
  return store;
}

export async function proxyTo({ server }: Stage): Promise<FaultProxy> {
  const proxy = await startProxy(server.port);
  onTestFinished(() => proxy.close());
  return proxy;
}

export function urlOf({ port }: FaultProxy): string {
  return `http://127.0.0.1:${port}`;
}

/** A client whose replies to some commands come `lateMs` late, and the names of those commands. */
export function lateClient(
  { client }: Stage,
  isLate: (name: string, input: object) => boolean,
  lateMs: number,
) {
  const late: string[] = [];
  const lateOne: NonNullable<DynamodbOptions["client"]> = {
    async send(command: never, options) {
      const { input, constructor } = command as { input: object; constructor: { name: string } };
      const output = await client.send(command);
      if (isLate(constructor.name, input)) {
        late.push(constructor.name);
        await sleep(lateMs);
      }
      options?.abortSignal?.throwIfAborted();
      return output;
    },
  };
  return { late, client: lateOne };
}

/** For the proxy: requests of this operation. */
export function operation(name: string): Match {
  return (bytes) => bytes.includes(`DynamoDB_20120810.${name}\r\n`);
}

export async function itemAt({ client, tableName }: Stage, id: string): Promise<Item | undefined> {
  const input = { TableName: tableName, Key: { id: { S: id } }, ConsistentRead: true };
  return (await client.send(new GetItemCommand(input))).Item;
}

/** Changes an item as no store would. */
export async function meddle(
  stage: Stage,
  id: string,
  change: (item: Item) => Item,
): Promise<void> {
  const item = await itemAt(stage, id);
  if (item === undefined) return expect.fail(`There is no item ${id}.`);
  const Item = change(item);
  await stage.client.send(new PutItemCommand({ TableName: stage.tableName, Item }));
}

/** The end of a lease or record: as if it had been a minute ago. */
export async function end(stage: Stage, id: string): Promise<void> {
  await meddle(stage, id, (item) => ({ ...item, endsAt: { N: `${Date.now() - 60_000}` } }));
}

/** The names of everything that the table has about a key. */
export async function namesOf({ client, tableName }: Stage, key: string): Promise<string[]> {
  const pages = paginateScan(
    { client },
    {
      TableName: tableName,
      ConsistentRead: true,
      FilterExpression: "begins_with(id, :key)",
      ExpressionAttributeValues: { ":key": { S: key } },
      ProjectionExpression: "id",
    },
  );
  const names: string[] = [];
  for await (const { Items = [] } of pages) names.push(...Items.map(({ id }) => id?.S ?? ""));
  return names.toSorted();
}

/** Of its record, where that is large. */
export async function chunksOf(stage: Stage, key: string): Promise<string[]> {
  return await namesOf(stage, `${key} `);
}

export const runner = { describe: describe.concurrent, it: it.concurrent };

/** How exactly a store knows DynamoDB's time before it has heard many replies. */
const CLOCK_ERROR_MS = 1_000;

/** For `storeContract`. The skew makes its leases of 300 ms last long enough for machines that are busy. */
export function underTest(
  { tableName }: Stage,
  options: Partial<DynamodbOptions>,
  clockSkewMs = 2_000,
): StoreUnderTest {
  return {
    store: dynamodbStore({ tableName, ...PATIENT, clockSkewMs, ...options }),
    elapse: (ms) => sleep(ms + clockSkewMs + CLOCK_ERROR_MS),
  };
}
