/** `list` and `sweep` on real servers: which keys there are, and never what was answered. */
import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from "vitest";
import { startDynamodb, type DynamodbLocal } from "../../infra/services/dynamodb.js";
import { startMasters, startRedis } from "../../infra/services/redis.js";
import type { Store } from "../../src/index.js";
import { acquire, answer } from "../../src/testing/stage.js";
import { createTable, dynamodbStore, type DynamodbOptions } from "../../stores/dynamodb.js";
import { PATIENT } from "../dynamodb/stage.js";
import { storeFromEnv } from "../../stores/from-env.js";
import { asked, tool } from "./tool.js";

// Processes that start on a busy machine.
vi.setConfig({ testTimeout: 120_000 });

const SECRET = "the-card-ends-in-4242";
const DAY_MS = 86_400_000;

type Environment = Record<string, string>;

interface Row {
  readonly key: string;
  readonly state: string;
  readonly nodes?: number;
}

async function storeOf(env: Environment): Promise<Store> {
  const store = await storeFromEnv(env);
  onTestFinished(() => store.close?.());
  return store;
}

async function complete(store: Store, key: string, ttlMs = DAY_MS): Promise<void> {
  const response = answer({ body: Buffer.from(SECRET), headers: [["X-Secret", SECRET]] }, ttlMs);
  await store.set(await acquire(store, key), response, ttlMs);
}

/** All pages of a listing. */
async function pages(env: Environment, limit: number): Promise<Row[][]> {
  const found: Row[][] = [];
  let cursor: unknown;
  do {
    const next = typeof cursor === "string" ? ["--cursor", cursor] : [];
    const { code, json } = await asked(["list", "--limit", `${limit}`, ...next], env);
    expect({ code, leftOut: json["leftOut"] }).toEqual({ code: 0, leftOut: [] });
    found.push(json["keys"] as Row[]);
    cursor = json["cursor"];
  } while (cursor !== null);
  return found;
}

function names(rows: readonly Row[]): string[] {
  return [...new Set(rows.map(({ key }) => key))].toSorted();
}

function numbered(count: number): string[] {
  return Array.from({ length: count }, (_, at) => `key-${at}`).toSorted();
}

describe("list, at one Redis", () => {
  test("shows what each key is, and of responses nothing", async () => {
    const node = await startRedis({ persistence: "always" });
    onTestFinished(() => node.close());
    const env = { IDEMPOTENCY_STORE: node.url };
    const store = await storeOf(env);
    await complete(store, "paid");
    await acquire(store, "running");
    await node.command("SET", "idempotency:strange", "of another program");
    await node.command("SET", "others:key", "of another program");

    const { code, stdout } = await tool(["list"], env);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^Key +State +Status +Bytes +Stored +Ends$/m);
    expect(stdout).toMatch(/^paid +completed +201 +\d+ +\d{4}-\S+Z +\d{4}-\S+Z$/m);
    expect(stdout).toMatch(/^running +held +- +- +- +\d{4}-\S+Z$/m);
    expect(stdout).toMatch(/^strange +unknown( +-)+$/m);
    expect(stdout).toMatch(/\n3 keys\.\n$/);

    const { json } = await asked(["list"], env);
    expect(json).toEqual({
      keys: expect.arrayContaining([
        {
          key: "paid",
          state: "completed",
          statusCode: 201,
          bytes: expect.any(Number),
          storedAt: expect.stringMatching(/Z$/),
          endsAt: expect.stringMatching(/Z$/),
        },
        { key: "running", state: "held", endsAt: expect.stringMatching(/Z$/) },
        { key: "strange", state: "unknown" },
      ]),
      cursor: null,
      leftOut: [],
    });
    expect(stdout + JSON.stringify(json)).not.toContain(SECRET);
  });

  test("in pages, each key once the pages are put together, and only those of the prefix", async () => {
    const node = await startRedis({ persistence: "always" });
    onTestFinished(() => node.close());
    const env = { IDEMPOTENCY_STORE: node.url, IDEMPOTENCY_PREFIX: "shop[1]*:" };
    const store = await storeOf(env);
    for (const key of numbered(60)) await complete(store, key);
    // A pattern would take the prefix for one.
    await node.command("SET", "shop1x:other", "of another shop");

    const found = await pages(env, 10);
    expect(found.length).toBeGreaterThan(2);
    expect(names(found.flat())).toEqual(numbered(60));
  });

  test("a page has about a hundred keys unless it is told otherwise", async () => {
    const node = await startRedis({ persistence: "always" });
    onTestFinished(() => node.close());
    const env = { IDEMPOTENCY_STORE: node.url };
    const store = await storeOf(env);
    await Promise.all(numbered(400).map((key) => complete(store, key)));

    const { json } = await asked(["list"], env);
    const { length } = json["keys"] as Row[];
    expect(length).toBeGreaterThanOrEqual(100);
    expect(length).toBeLessThan(250);
    expect(json["cursor"]).toEqual(expect.any(String));
  });

  test("a cursor of a server that was replaced is refused, and so is nonsense", async () => {
    const [node, other] = [await startRedis(), await startRedis()];
    onTestFinished(async () => {
      await node.close();
      await other.close();
    });
    const store = await storeOf({ IDEMPOTENCY_STORE: node.url });
    for (const key of numbered(40)) await complete(store, key);
    const { json } = await asked(["list", "--limit", "10"], { IDEMPOTENCY_STORE: node.url });

    for (const cursor of [String(json["cursor"]), "nonsense"]) {
      const refused = await tool(["list", "--cursor", cursor], { IDEMPOTENCY_STORE: other.url });
      expect(refused).toMatchObject({ code: 1, stdout: "" });
      expect(refused.stderr).toMatch(/begin again without it/);
    }
  });
});

test("list, on a quorum: without a node, what the others hold, and which one was left out", async () => {
  const masters = await startMasters(3, { persistence: "always" });
  onTestFinished(() => masters.close());
  const env = { IDEMPOTENCY_STORE: `redlock:${masters.urls.join()}` };
  const store = await storeOf(env);
  for (const key of numbered(10)) await complete(store, key);

  const [, , third] = masters.nodes;
  await third?.kill();
  const { code, json } = await asked(["list"], env);
  expect(code).toBe(0);
  expect(json["leftOut"]).toEqual(
    expect.arrayContaining([expect.stringMatching(`127.0.0.1:${third?.port}`)]),
  );
  const rows = json["keys"] as Row[];
  expect(names(rows)).toEqual(numbered(10));
  expect(rows.every(({ nodes }) => nodes !== undefined && nodes <= 2)).toBe(true);
  expect((await tool(["list"], env)).stdout).toMatch(/ Nodes$[^]*^Left out: Redis at /m);
});

describe("on DynamoDB", () => {
  const credentials = { AWS_ACCESS_KEY_ID: "anyone", AWS_SECRET_ACCESS_KEY: "anything" };
  let server: DynamodbLocal;

  beforeAll(async () => {
    Object.assign(process.env, credentials);
    server = await startDynamodb();
  }, 300_000);
  afterAll(() => server.close());

  async function table(parameters = ""): Promise<{ env: Environment; tableName: string }> {
    const tableName = `t-${randomUUID()}`;
    await createTable({ tableName, region: "eu-central-1", endpoint: server.url, expiry: "sweep" });
    const url = `dynamodb://${tableName}?region=eu-central-1&endpoint=${server.url}${parameters}`;
    return { tableName, env: { IDEMPOTENCY_STORE: url, ...credentials } };
  }

  /** A store that a busy machine does not break. */
  function storeIn(tableName: string, options: Partial<DynamodbOptions>): Store {
    const place = { tableName, region: "eu-central-1", endpoint: server.url };
    const store = dynamodbStore({ ...place, ...PATIENT, ...options });
    onTestFinished(() => store.close?.());
    return store;
  }

  test("list shows each key, in pages, whether its response is small or in chunks", async () => {
    const { env, tableName } = await table();
    const store = storeIn(tableName, { prefix: "mine#" });
    const others = storeIn(tableName, { prefix: "others#" });
    for (const key of numbered(20)) await complete(store, key);
    await complete(others, "not-mine");
    await acquire(store, "running");
    const large = answer({ body: Buffer.from(Array.from({ length: 9_000 }, randomUUID).join("")) });
    await store.set(await acquire(store, "large"), large, DAY_MS);
    await complete(store, "over", 1);

    const found = await pages({ ...env, IDEMPOTENCY_PREFIX: "mine#" }, 8);
    expect(found.length).toBeGreaterThan(2);
    expect(Math.max(...found.map(({ length }) => length))).toBe(8);
    const rows = found.flat();
    // What ended within the clocks' difference may still be there.
    expect(names(rows).filter((key) => key !== "over")).toEqual([
      ...numbered(20),
      "large",
      "running",
    ]);
    expect(rows).toContainEqual({
      key: "large",
      state: "completed",
      bytes: expect.toSatisfy((bytes: number) => bytes > 300_000),
      endsAt: expect.stringMatching(/Z$/),
    });
    expect(rows).toContainEqual({ key: "running", state: "held", endsAt: expect.any(String) });
    expect(JSON.stringify(rows)).not.toContain(SECRET);
  });

  test("sweep deletes what is over, to the end or to a limit, and nothing else", async () => {
    const { env, tableName } = await table("&expiry=sweep");
    const store = storeIn(tableName, { clockSkewMs: 0 });
    await complete(store, "alive");
    for (const key of numbered(60)) await complete(store, key, -10_000);

    const first = await asked(["sweep", "--limit-ms", "1"], env);
    expect(first).toMatchObject({ code: 0, json: { cursor: expect.any(String) } });
    const { json } = await asked(["sweep", "--cursor", String(first.json["cursor"])], env);
    expect(json["cursor"]).toBeNull();
    expect(Number(first.json["deleted"]) + Number(json["deleted"])).toBe(60);

    const again = await tool(["sweep"], env);
    expect(again).toMatchObject({
      code: 0,
      stdout: "Deleted 0 of 1 items; the others are not over.\n",
    });
    expect(names((await pages(env, 10)).flat())).toEqual(["alive"]);
  });
});

test.each([
  [["list"], "memory:", "A memory store is its process's own"],
  [["inspect", "a"], "memory:", "A memory store is its process's own"],
  [["delete", "a", "--yes"], "memory:", "A memory store is its process's own"],
  [["sweep"], "memory:", "IDEMPOTENCY_STORE is memory, which deletes what is over by itself"],
])("%j has nothing to do on %s, and says why", async (args, url, says) => {
  const refused = await tool(args, { IDEMPOTENCY_STORE: url });
  expect(refused).toMatchObject({ code: 64, stdout: "" });
  expect(refused.stderr).toContain(says);
});

test.each([
  [["list", "--limit", "0"], "--limit must be a whole number from 1 to 10000"],
  [["list", "--limit", "x"], "--limit must be"],
  [["sweep", "--limit-ms", "1.5"], "--limit-ms must be"],
])("%j is refused with exit code 64", async (args, says) => {
  const refused = await tool(args, { IDEMPOTENCY_STORE: "memory:" });
  expect(refused).toMatchObject({ code: 64, stdout: "" });
  expect(refused.stderr).toContain(says);
});
