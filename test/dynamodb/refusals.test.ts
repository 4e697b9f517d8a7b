/** What DynamoDB says when it is busy, broken or forbidden, which no emulator does: by a mock of the SDK's client. */
import {
  BatchGetItemCommand,
  DynamoDBClient,
  GetItemCommand,
  PutItemCommand,
  TransactWriteItemsCommand,
  UpdateItemCommand,
} from "@aws-sdk/client-dynamodb";
import { mockClient } from "aws-sdk-client-mock";
import { beforeEach, describe, expect, test, vi } from "vitest";
import type { Lease } from "../../src/index.js";
import { answer, FINGERPRINT, LONG_MS } from "../../src/testing/stage.js";
import { dynamodbStore } from "../../stores/dynamodb.js";

vi.setConfig({ testTimeout: 20_000 });

const dynamo = mockClient(DynamoDBClient);
const client = new DynamoDBClient({ region: "us-east-1" });
const LIMITS = { timeoutMs: 5_000, requestTimeoutMs: 1_000 };
const store = dynamodbStore({ tableName: "table", client, ...LIMITS });
const impatient = dynamodbStore({ tableName: "table", client, timeoutMs: 200 });

const lease: Lease = { key: "key", token: "token", fingerprint: FINGERPRINT, validUntil: Infinity };

function refusal(name: string, httpStatusCode: number | undefined, message = "as mocked"): Error {
  return Object.assign(new Error(message), { name, $metadata: { httpStatusCode } });
}

const BUSY = [
  refusal("ProvisionedThroughputExceededException", 400),
  refusal("ThrottlingException", 400),
  refusal("RequestLimitExceeded", 400),
  refusal("TransactionConflictException", 400),
  refusal("ReplicatedWriteConflictException", 400),
  refusal("InternalServerError", 500),
  refusal("ServiceUnavailable", 503),
  Object.assign(new Error("socket hang up"), { code: "ECONNRESET" }),
];

const WRONG: readonly (readonly [Error, RegExp])[] = [
  [refusal("ResourceNotFoundException", 400), /createTable\(\) or infra\/table\.yml/],
  [refusal("AccessDeniedException", 400), /Allow the role/],
  [refusal("ValidationException", 400), /keyAttribute/],
  [refusal("UnrecognizedClientException", 400), /credentials/],
  [refusal("CredentialsProviderError", undefined), /credentials/],
  [new Error("Region is missing"), /AWS_REGION/],
];

beforeEach(() => {
  dynamo.reset();
  dynamo.on(GetItemCommand).resolves({});
});

describe.each(BUSY.map((error) => ({ name: error.name, message: error.message, error })))(
  "$name $message",
  ({ error }) => {
    test("is tried again until it goes away", async () => {
      dynamo.on(UpdateItemCommand).rejectsOnce(error).rejectsOnce(error).resolves({});
      dynamo.on(PutItemCommand).rejectsOnce(error).resolves({});

      expect(await store.lock("key", FINGERPRINT, LONG_MS)).toMatchObject({ state: "acquired" });
      expect(await store.set(lease, answer(), LONG_MS)).toMatchObject({ state: "stored" });
      expect(dynamo.commandCalls(UpdateItemCommand)).toHaveLength(3);
      expect(dynamo.commandCalls(PutItemCommand)).toHaveLength(2);
    });

    test("that does not go away is told in time", async () => {
      dynamo.on(PutItemCommand).rejects(error);
      const started = performance.now();
      await expect(impatient.set(lease, answer(), LONG_MS)).rejects.toMatchObject({
        code: "STORE_UNAVAILABLE",
      });
      expect(performance.now() - started).toBeLessThan(200 + 2_000);
    });
  },
);

describe.each(WRONG.map(([error, advice]) => ({ name: error.name, error, advice })))(
  "$name",
  ({ error, advice }) => {
    test("is told at once, with what to do, and a claim was not executed", async () => {
      dynamo.on(UpdateItemCommand).rejects(error);
      dynamo.on(PutItemCommand).rejects(error);

      const claim = store.lock("key", FINGERPRINT, LONG_MS);
      await expect(claim).rejects.toMatchObject({
        code: "LOCK_FAILED",
        message: expect.stringMatching(advice),
      });
      const set = store.set(lease, answer(), LONG_MS);
      await expect(set).rejects.toMatchObject({
        code: "STORE_UNAVAILABLE",
        message: expect.stringMatching(advice),
      });
      expect(dynamo.commandCalls(UpdateItemCommand)).toHaveLength(1);
      expect(dynamo.commandCalls(PutItemCommand)).toHaveLength(1);
    });
  },
);

test("an attempt that the deadline cuts short does not hide what failed before it", async () => {
  dynamo
    .on(PutItemCommand)
    .rejectsOnce(refusal("ThrottlingException", 400))
    .callsFake(() => new Promise(() => {}));
  const set = (requestTimeoutMs: number) =>
    dynamodbStore({ tableName: "table", client, timeoutMs: 400, requestTimeoutMs }).set(
      lease,
      answer(),
      LONG_MS,
    );

  await expect(set(1_000)).rejects.toThrow(/ThrottlingException.*on-demand/);
  await expect(set(1_000)).rejects.toThrow(/no reply within [34]\d\d ms.*raise requestTimeoutMs/);
  await expect(set(100)).rejects.toThrow(/no reply within 100 ms/);
});

test("nothing of the reply, such as an item, is left on the error", async () => {
  const error = Object.assign(refusal("ValidationException", 400), {
    Item: { secret: { S: "secret" } },
    $response: { body: "secret" },
  });
  dynamo.on(PutItemCommand).rejects(error);

  const failure = await store.set(lease, answer(), LONG_MS).catch((reason: unknown) => reason);

  expect(failure).toHaveProperty("cause.name", "ValidationException");
  expect(Object.keys((failure as Error).cause as object)).toEqual(["name"]);
});

describe("a transaction that was cancelled", () => {
  const cancelled = (...codes: string[]) =>
    Object.assign(refusal("TransactionCanceledException", 400), {
      CancellationReasons: codes.map((Code) => ({ Code })),
    });
  const writes = [{ Delete: { TableName: "other", Key: { id: { S: "a" } } } }];
  const commit = (by = store) => by.commit?.(lease, answer(), LONG_MS, writes);

  test.each(["TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"])(
    "by %s is tried again, as another one",
    async (code) => {
      dynamo.on(TransactWriteItemsCommand).rejectsOnce(cancelled(code, "None")).resolves({});

      expect(await commit()).toEqual({ state: "stored" });

      const tokens = dynamo
        .commandCalls(TransactWriteItemsCommand)
        .map(({ args }) => args[0].input.ClientRequestToken);
      expect(new Set(tokens).size).toBe(2);
    },
  );

  test("is tried again with the same token where the outcome is unknown", async () => {
    dynamo
      .on(TransactWriteItemsCommand)
      .rejectsOnce(refusal("InternalServerError", 500))
      .rejectsOnce(refusal("TransactionInProgressException", 400))
      .resolves({});

    expect(await commit()).toEqual({ state: "stored" });

    const tokens = dynamo
      .commandCalls(TransactWriteItemsCommand)
      .map(({ args }) => args[0].input.ClientRequestToken);
    expect(tokens).toHaveLength(3);
    expect(new Set(tokens).size).toBe(1);
  });

  test("of the whole transaction is told at once, with what to do", async () => {
    dynamo.on(TransactWriteItemsCommand).rejects(refusal("AccessDeniedException", 400));
    await expect(commit()).rejects.toThrow(/Allow the role/);
    expect(dynamo.commandCalls(TransactWriteItemsCommand)).toHaveLength(1);
  });

  test("by the response itself is told at once: it will not fit the next time either", async () => {
    dynamo.on(TransactWriteItemsCommand).rejects(cancelled("ValidationError", "None"));
    await expect(commit()).rejects.toMatchObject({ code: "STORE_UNAVAILABLE" });
    expect(dynamo.commandCalls(TransactWriteItemsCommand)).toHaveLength(1);
  });

  test("by a conflict that stays is unavailable; by a fault of the writes, refused", async () => {
    dynamo.on(TransactWriteItemsCommand).rejects(cancelled("None", "TransactionConflict"));
    await expect(commit(impatient)).rejects.toMatchObject({ code: "STORE_UNAVAILABLE" });
    // In 200 ms, with pauses of up to 400: not as fast as it goes.
    expect(dynamo.commandCalls(TransactWriteItemsCommand).length).toBeLessThan(50);
    dynamo
      .on(TransactWriteItemsCommand)
      .rejects(cancelled("None", "ItemCollectionSizeLimitExceeded"));
    await expect(commit()).rejects.toMatchObject({ code: "COMMIT_REFUSED" });
  });
});

test("what one BatchGetItem leaves over is asked for again", async () => {
  const written = new Map<string, Record<string, unknown>>();
  dynamo.on(PutItemCommand).callsFake(({ Item }) => {
    written.set(Item.id.S, Item);
    return {};
  });
  const response = answer({
    body: Buffer.from(Array.from({ length: 900_000 }, () => Math.random() * 256)),
  });
  await store.set(lease, response, LONG_MS);
  dynamo.on(GetItemCommand).callsFake(({ Key }) => ({ Item: written.get(Key.id.S) }));
  let turn = 0;
  dynamo.on(BatchGetItemCommand).callsFake(({ RequestItems: { table } }) => {
    turn += 1;
    // First nothing at all, as when throttled, and then one at a time.
    const taken = turn === 1 ? 0 : 1;
    const left = table.Keys.slice(taken);
    return {
      Responses: {
        table: table.Keys.slice(0, taken).map((key: { id: { S: string } }) =>
          written.get(key.id.S),
        ),
      },
      UnprocessedKeys: left.length === 0 ? {} : { table: { Keys: left } },
    };
  });

  const replayed = await store.get("key");

  expect(Buffer.compare(replayed?.body ?? Buffer.alloc(0), response.body)).toBe(0);
  expect(turn).toBe(4);
});

test("what BatchGetItem does not give at all is asked for with pauses, and said to be throttled in the end", async () => {
  dynamo.on(GetItemCommand).resolves({ Item: recordInChunks(2) });
  dynamo
    .on(BatchGetItemCommand)
    .callsFake(({ RequestItems }) => ({ Responses: {}, UnprocessedKeys: RequestItems }));

  await expect(impatient.get("key")).rejects.toThrow(/its table is throttled/);
  expect(dynamo.commandCalls(BatchGetItemCommand).length).toBeLessThan(50);
});

test.each([
  [100, 1],
  [101, 2],
])("%i parts are asked for by %i BatchGetItem, and checked by their hash", async (count, asks) => {
  dynamo.on(GetItemCommand).resolves({ Item: recordInChunks(count) });
  dynamo.on(BatchGetItemCommand).callsFake(({ RequestItems: { table } }) => ({
    Responses: {
      table: table.Keys.map((key: { id: { S: string } }) => ({
        ...key,
        part: { B: Buffer.alloc(1) },
      })),
    },
  }));

  await expect(store.get("key")).rejects.toThrow(/its parts are not what was written/);
  expect(dynamo.commandCalls(BatchGetItemCommand)).toHaveLength(asks);
});

function recordInChunks(count: number) {
  return {
    id: { S: "key" },
    state: { S: "completed" },
    token: { S: "token" },
    endsAt: { N: `${Date.now() + LONG_MS}` },
    size: { N: "1000" },
    chunks: { N: `${count}` },
    sha256: { B: Buffer.alloc(32) },
  };
}

test("an endpoint that does not say what stands under a refused key is named as such", async () => {
  dynamo.on(UpdateItemCommand).rejects(refusal("ConditionalCheckFailedException", 400));
  await expect(store.lock("key", FINGERPRINT, LONG_MS)).rejects.toThrow(
    /ReturnValuesOnConditionCheckFailure/,
  );
});
