/** The response and the handler's own writes in one transaction: all of them or none. */
import { randomBytes, randomUUID } from "node:crypto";
import type { AttributeValue, TransactWriteItem } from "@aws-sdk/client-dynamodb";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import {
  CommitRefusedError,
  type CachedResponse,
  type Lease,
  type Store,
} from "../../src/index.js";
import {
  acquire,
  answer,
  complete,
  expectCompleted,
  expectHeld,
  LONG_MS,
} from "../../src/testing/stage.js";
import { createTable } from "../../stores/dynamodb.js";
import {
  end,
  itemAt,
  lateClient,
  openStage,
  operation,
  proxyTo,
  storeOn,
  urlOf,
  type Stage,
} from "./stage.js";

vi.setConfig({ testTimeout: 30_000, hookTimeout: 120_000 });

let stage: Stage;

beforeAll(async () => {
  stage = await openStage();
});
afterAll(() => stage.close());

/** A payment, to be written once: its second writing would fail. */
function payment(id: string): TransactWriteItem {
  return {
    Put: {
      TableName: stage.tableName,
      Item: { id: { S: id }, amount: { N: "100" } },
      ConditionExpression: "attribute_not_exists(id)",
    },
  };
}

/** A counter: a second commit would be seen. */
function increment(id: string): TransactWriteItem {
  return {
    Update: {
      TableName: stage.tableName,
      Key: { id: { S: id } },
      UpdateExpression: "ADD times :one",
      ExpressionAttributeValues: { ":one": { N: "1" } },
    },
  };
}

async function commit(
  store: Store,
  lease: Lease,
  writes: readonly unknown[],
  response: CachedResponse = answer(),
) {
  if (store.commit === undefined) throw new Error("The store cannot commit.");
  return await store.commit(lease, response, LONG_MS, writes);
}

const ids = () => [randomUUID(), randomUUID(), randomUUID()] as const;

describe("a holder", () => {
  test("commits at the first attempt, though that takes longer than small requests may", async () => {
    const isLate = (name: string) => name === "TransactWriteItemsCommand";
    const { late, client } = lateClient(stage, isLate, 1_500);
    const store = storeOn(stage, { client, requestTimeoutMs: 1_000 });
    const lease = await acquire(store, randomUUID());

    expect(await commit(store, lease, [increment(randomUUID())])).toEqual({ state: "stored" });
    expect(late).toHaveLength(1);
  });

  test.each([
    ["a small response", answer()],
    ["a large response", answer({ body: randomBytes(900_000) })],
  ])("commits its writes and %s together", async (_, response) => {
    const [key, first, second] = ids();
    const store = storeOn(stage);
    const lease = await acquire(store, key);

    const result = await commit(store, lease, [payment(first), increment(second)], response);

    expect(result).toEqual({ state: "stored" });
    expect(await itemAt(stage, first)).toMatchObject({ amount: { N: "100" } });
    expect(await itemAt(stage, second)).toMatchObject({ times: { N: "1" } });
    await expectCompleted(store, key, response);
  });

  test("commits writes to another table than its own", async () => {
    const [key, id] = ids();
    const tableName = randomUUID();
    await createTable({ tableName, client: stage.client });
    const store = storeOn(stage);
    const write = { Put: { TableName: tableName, Item: { id: { S: id }, amount: { N: "1" } } } };

    expect(await commit(store, await acquire(store, key), [write])).toEqual({ state: "stored" });

    expect(await itemAt({ ...stage, tableName }, id)).toMatchObject({ amount: { N: "1" } });
  });

  test("commits without writes of its own", async () => {
    const store = storeOn(stage);
    const [key] = ids();
    expect(await commit(store, await acquire(store, key), [])).toEqual({ state: "stored" });
  });
});

describe("a holder that lost its lease writes nothing at all", () => {
  test("to a successor that holds the key", async () => {
    const [key, id] = ids();
    const store = storeOn(stage);
    const stale = await acquire(store, key);
    await end(stage, key);
    await acquire(store, key);

    expect(await commit(store, stale, [payment(id)])).toEqual({ state: "lost" });

    expect(await itemAt(stage, id)).toBeUndefined();
    await expectHeld(store, key);
  });

  test("to a successor that completed it, whose record it gets", async () => {
    const [key, id] = ids();
    const store = storeOn(stage);
    const stale = await acquire(store, key);
    await end(stage, key);
    const winner = await complete(store, await acquire(store, key));

    const lost = await commit(store, stale, [payment(id)]);

    expect(lost).toMatchObject({ state: "lost", winner: { timestamp: winner.timestamp } });
    expect(await itemAt(stage, id)).toBeUndefined();
    await expectCompleted(store, key, winner);
  });

  test("to nobody: its lease ran out, or the key is empty", async () => {
    const [key, other, id] = ids();
    const store = storeOn(stage);
    const over = await acquire(store, key);
    await end(stage, key);
    const released = await acquire(store, other);
    await store.unlock(released);

    expect(await commit(store, over, [payment(id)])).toEqual({ state: "lost" });
    expect(await commit(store, released, [payment(id)])).toEqual({ state: "lost" });
    expect(await itemAt(stage, id)).toBeUndefined();
  });
});

describe("a commit whose reply was lost", () => {
  test("is sent again, and everything is written once", async () => {
    const [key, id] = ids();
    const proxy = await proxyTo(stage);
    const store = storeOn(stage, { endpoint: urlOf(proxy) });
    const lease = await acquire(store, key);
    const cut = proxy.cutAfterRequest(operation("TransactWriteItems"));

    expect(await commit(store, lease, [increment(id)])).toEqual({ state: "stored" });

    await cut;
    expect(proxy.traffic.requests["TransactWriteItems"]).toBe(2);
    expect(await itemAt(stage, id)).toMatchObject({ times: { N: "1" } });
  });

  test("and that is repeated by its caller says stored, and everything is written once", async () => {
    const [key, id] = ids();
    const store = storeOn(stage);
    const lease = await acquire(store, key);
    const response = answer();

    for (let turn = 0; turn < 3; turn += 1) {
      expect(await commit(store, lease, [increment(id)], response)).toEqual({ state: "stored" });
    }

    expect(await itemAt(stage, id)).toMatchObject({ times: { N: "1" } });
    await expectCompleted(store, key, response);
  });

  test("at the same moment, several times over: still once", async () => {
    const [key, id] = ids();
    const store = storeOn(stage);
    const lease = await acquire(store, key);
    const results = await Promise.all(
      Array.from({ length: 5 }, () => commit(store, lease, [increment(id)])),
    );
    expect(new Set(results.map(({ state }) => state))).toEqual(new Set(["stored"]));
    expect(await itemAt(stage, id)).toMatchObject({ times: { N: "1" } });
  });
});

describe("writes that are refused", () => {
  test("by their own conditions come back with the reasons in order; the lease still holds", async () => {
    const [key, taken, fresh] = ids();
    const store = storeOn(stage);
    await commit(store, await acquire(store, randomUUID()), [payment(taken)]);
    const lease = await acquire(store, key);

    const error = await commit(store, lease, [payment(fresh), payment(taken)]).catch(
      (reason: unknown) => reason,
    );

    expect(error).toBeInstanceOf(CommitRefusedError);
    expect((error as CommitRefusedError).reasons).toEqual([
      undefined,
      expect.objectContaining({ Code: "ConditionalCheckFailed" }),
    ]);
    expect(await itemAt(stage, fresh)).toBeUndefined();
    expect(await store.extend(lease, LONG_MS)).toBe(true);
    expect(await commit(store, lease, [payment(fresh)])).toEqual({ state: "stored" });
  });

  const values = (value: unknown) => ({ Put: { TableName: "t", Item: { id: value } } });
  const WRONG: readonly (readonly [string, readonly unknown[], RegExp])[] = [
    ["more than 99", Array.from({ length: 100 }, () => values({ S: "a" })), /at most 99/],
    ["more than 4 MB", [values({ B: Buffer.alloc(2 ** 22) })], /bytes/],
    ["more than 4 MB of text", [values({ S: "a".repeat(2 ** 22) })], /bytes/],
    ["more than 4 MB of digits", [values({ N: "1".repeat(2 ** 23) })], /bytes/],
    ["plain values", [values("a")], /marshall\(\)/],
    ["null", [values(null)], /marshall\(\)/],
    ["a value of no type that there is", [values({ T: "a" })], /marshall\(\)/],
    ["a value of two types", [values({ S: "a", N: "1" })], /marshall\(\)/],
    ["an unknown action", [{ Get: { Key: {} } }], /exactly one of Put/],
    ["two actions in one", [{ Put: {}, Delete: {} }], /exactly one of Put/],
    ["nothing", [undefined], /exactly one of Put/],
  ];

  test.each(WRONG)("%s: before anything is sent", async (_, writes, says) => {
    const proxy = await proxyTo(stage);
    const store = storeOn(stage, { endpoint: urlOf(proxy) });
    const lease = await acquire(store, randomUUID());
    proxy.resetTraffic();

    const refused = commit(store, lease, writes, answer({ body: randomBytes(100_000) }));

    await expect(refused).rejects.toThrow(CommitRefusedError);
    await expect(refused).rejects.toThrow(says);
    expect(proxy.traffic.requests).toEqual({});
  });

  test("as many as there may be, of every type, with parts that are undefined, are not among them", async () => {
    const { tableName: TableName } = stage;
    const [key] = ids();
    const kinds: AttributeValue[] = [
      { S: "text" },
      { N: "1", S: undefined } as AttributeValue,
      { B: Buffer.from("bytes") },
      { SS: ["a"] },
      { NS: ["1"] },
      { BS: [Buffer.from("b")] },
      { L: [{ M: { a: { NULL: true } } }] },
      { BOOL: true },
    ];
    const writes = Array.from({ length: 99 }, (_, at) => ({
      Put: { TableName, Item: { id: { S: randomUUID() }, value: kinds[at % kinds.length] } },
      Delete: undefined,
    }));
    const store = storeOn(stage);

    expect(await commit(store, await acquire(store, key), writes)).toEqual({ state: "stored" });
    const last = writes[98]?.Put.Item.id.S ?? "";
    expect(await itemAt(stage, last)).toHaveProperty("value");
  });

  test("an expression that is wrong: says DynamoDB's word", async () => {
    const store = storeOn(stage);
    const lease = await acquire(store, randomUUID());
    const write = { Put: { ...payment(randomUUID()).Put, ConditionExpression: "nonsense" } };

    await expect(commit(store, lease, [write])).rejects.toThrow(
      /nothing was written.*Expression/is,
    );
  });
});

test("a table without transactions has no commit", () => {
  expect(storeOn(stage, { expiry: "sweep" })).not.toHaveProperty("commit");
});
