/** The table: made, checked, and swept where DynamoDB does not delete by itself. */
import { randomBytes, randomUUID } from "node:crypto";
import {
  CreateTableCommand,
  DeleteItemCommand,
  DescribeTableCommand,
  DescribeTimeToLiveCommand,
  PutItemCommand,
} from "@aws-sdk/client-dynamodb";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import {
  acquire,
  answer,
  complete,
  expectCompleted,
  expectHeld,
  LONG_MS,
} from "../../src/testing/stage.js";
import { createTable, dynamodbStore } from "../../stores/dynamodb.js";
import {
  chunksOf,
  itemAt,
  meddle,
  namesOf,
  openStage,
  PATIENT,
  REGION,
  storeOn,
  type Stage,
} from "./stage.js";

vi.setConfig({ testTimeout: 60_000, hookTimeout: 120_000 });

let stage: Stage;

beforeAll(async () => {
  stage = await openStage();
});
afterAll(() => stage.close());

const DAY_S = 24 * 60 * 60;

describe("createTable", () => {
  test("creates a table with on-demand billing and TTL; a second time it finds it", async () => {
    const [tableName, { client }] = [randomUUID(), stage];
    const options = { tableName, region: REGION, endpoint: stage.server.url };

    expect(await createTable(options)).toBe("created");
    expect(await createTable(options)).toBe("found");

    const { Table } = await client.send(new DescribeTableCommand({ TableName: tableName }));
    expect(Table).toMatchObject({
      BillingModeSummary: { BillingMode: "PAY_PER_REQUEST" },
      KeySchema: [{ AttributeName: "id", KeyType: "HASH" }],
    });
    const ttl = await client.send(new DescribeTimeToLiveCommand({ TableName: tableName }));
    expect(ttl.TimeToLiveDescription).toMatchObject({
      TimeToLiveStatus: "ENABLED",
      AttributeName: "expiresAt",
    });
  });

  test("several at once create one", async () => {
    const options = { tableName: randomUUID(), client: stage.client };
    const made = await Promise.all(Array.from({ length: 4 }, () => createTable(options)));
    expect(made).toContain("created");
  });

  test("for a store that is swept, leaves TTL off; its attribute names are options", async () => {
    const [tableName, { client }] = [randomUUID(), stage];
    const names = { keyAttribute: "pk", ttlAttribute: "ttl", expiry: "sweep" } as const;
    await createTable({ tableName, client, ...names });
    const ttl = await client.send(new DescribeTimeToLiveCommand({ TableName: tableName }));
    expect(ttl.TimeToLiveDescription?.TimeToLiveStatus).toBe("DISABLED");

    const store = storeOn({ ...stage, tableName }, names);
    await expectCompleted(store, "key", await complete(store, await acquire(store, "key")));
  });

  test.each([
    ["another name", [{ AttributeName: "pk", KeyType: "HASH" as const }], "S"],
    ["another type", [{ AttributeName: "id", KeyType: "HASH" as const }], "N"],
    [
      "a sort key",
      [
        { AttributeName: "id", KeyType: "HASH" as const },
        { AttributeName: "sk", KeyType: "RANGE" as const },
      ],
      "S",
    ],
  ])("refuses a table whose key has %s", async (_, KeySchema, type) => {
    const [TableName, { client }] = [randomUUID(), stage];
    const AttributeDefinitions = KeySchema.map(({ AttributeName }) => ({
      AttributeName,
      AttributeType: type as "S" | "N",
    }));
    const BillingMode = "PAY_PER_REQUEST";
    await client.send(
      new CreateTableCommand({ TableName, KeySchema, AttributeDefinitions, BillingMode }),
    );

    const made = createTable({ tableName: TableName, client });

    await expect(made).rejects.toMatchObject({ code: "OPTIONS_INVALID" });
    await expect(made).rejects.toThrow(/must be id \(HASH, S\) alone/);
  });

  test("refuses a table that expires by another attribute", async () => {
    const [tableName, { client }] = [randomUUID(), stage];
    await createTable({ tableName, client, ttlAttribute: "ttl" });
    await expect(createTable({ tableName, client })).rejects.toThrow(/set ttlAttribute to that/);
  });
});

test("a store without its table says what to do", async () => {
  const store = storeOn({ ...stage, tableName: "no-such-table" });
  const claim = store.lock("key", "fingerprint", LONG_MS);
  await expect(claim).rejects.toThrow(/Create the table with createTable\(\)/);
});

test("options that cannot work are all named at once", () => {
  const wrong = {
    tableName: "",
    client: {},
    region: "eu-west-1",
    keyAttribute: "token",
    maxInlineBytes: 400_000,
    nonsense: 1,
  };
  const made = () => dynamodbStore(wrong as never);
  for (const text of [
    "tableName must be",
    "client must be",
    "maxInlineBytes must be",
    "'nonsense'",
  ]) {
    expect(made).toThrow(text);
  }
  const related = () =>
    dynamodbStore({
      tableName: "t",
      client: stage.client,
      region: "eu-west-1",
      keyAttribute: "token",
    });
  for (const text of ["region and endpoint are for", "keyAttribute must not be 'token'"]) {
    expect(related).toThrow(text);
  }
  expect(() => dynamodbStore({} as never)).toThrow("tableName is missing");
  for (const endpoint of ["localhost:8000", "http://", "ftp://localhost", ""]) {
    const elsewhere = () => dynamodbStore({ tableName: "t", endpoint });
    expect(elsewhere).toThrow("endpoint must be an http or https URL");
  }
});

describe("sweep", () => {
  test("deletes what is over for long, chunks too, and nothing else; it goes on where it stopped", async () => {
    const tableName = randomUUID();
    const swept = { ...stage, tableName };
    await createTable({ tableName, client: stage.client, expiry: "sweep" });
    const store = storeOn(swept, { expiry: "sweep", maxInlineBytes: 100 });
    const outdate = (id: string) =>
      meddle(swept, id, (item) => ({
        ...item,
        expiresAt: { N: `${Math.floor(Date.now() / 1_000) - DAY_S}` },
      }));
    const large = () => answer({ body: randomBytes(1_000) });
    const alive = await complete(store, await acquire(store, "alive"), large());
    await acquire(store, "held");
    for (let at = 0; at < 60; at += 1) {
      await complete(store, await acquire(store, `dead-${at}`), large());
    }
    for (const id of await namesOf(swept, "dead")) await outdate(id);
    // Of another program, which happens to have the same attribute.
    const Item = { id: { S: "dead-of-others" }, expiresAt: { N: "1" } };
    await stage.client.send(new PutItemCommand({ TableName: tableName, Item }));

    const first = await store.sweep({ limitMs: 1 });
    expect(first.cursor).toBeDefined();
    const rest = await store.sweep({ cursor: first.cursor });

    expect(rest.cursor).toBeUndefined();
    expect(first.deleted).toBeGreaterThan(0);
    expect(first.deleted + rest.deleted).toBe(120);
    expect(await namesOf(swept, "dead")).toEqual(["dead-of-others"]);
    await expectCompleted(store, "alive", alive);
    expect(await chunksOf(swept, "alive")).toHaveLength(1);
    await expectHeld(store, "held");
  });

  test("counts what it deleted by an attempt whose reply was lost", async () => {
    const tableName = randomUUID();
    const swept = { ...stage, tableName };
    await createTable({ tableName, client: stage.client, expiry: "sweep" });
    let lost = 0;
    const send = async (command: DeleteItemCommand): Promise<unknown> => {
      const output = await stage.client.send(command);
      if (!(command instanceof DeleteItemCommand) || lost > 0) return output;
      lost += 1;
      throw Object.assign(new Error("the reply is lost"), { name: "TimeoutError" });
    };
    const store = dynamodbStore({ tableName, client: { send }, expiry: "sweep", ...PATIENT });
    await complete(store, await acquire(store, "key"), answer());
    await meddle(swept, "key", (item) => ({ ...item, expiresAt: { N: "1" } }));

    expect(await store.sweep()).toEqual({ scanned: 1, deleted: 1 });
    expect(lost).toBe(1);
  });

  test("with a prefix, only what has it", async () => {
    const tableName = randomUUID();
    const swept = { ...stage, tableName };
    await createTable({ tableName, client: stage.client });
    const [mine, other] = ["mine#", "other#"].map((prefix) =>
      storeOn(swept, { prefix, clockSkewMs: 0 }),
    );
    for (const store of [mine, other]) {
      if (store === undefined) continue;
      await complete(store, await acquire(store, "key"), answer({}, 1), 1);
    }
    for (const id of ["mine#key", "other#key"]) {
      await meddle(swept, id, (item) => ({ ...item, expiresAt: { N: "1" } }));
    }

    expect(await mine?.sweep()).toMatchObject({ deleted: 1 });

    expect(await itemAt(swept, "mine#key")).toBeUndefined();
    expect(await itemAt(swept, "other#key")).toBeDefined();
  });
});
