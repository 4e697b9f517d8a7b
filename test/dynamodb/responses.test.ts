/** Responses of every size: where they lie, what they cost to replay, and what happens when a part of one is gone. */
import { randomBytes, randomUUID } from "node:crypto";
import { DeleteItemCommand } from "@aws-sdk/client-dynamodb";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { idempotency } from "../../src/index.js";
import {
  acquire,
  answer,
  complete,
  expectCompleted,
  expectHeld,
  FINGERPRINT,
  LONG_MS,
} from "../../src/testing/stage.js";
import { storageKey } from "../../src/key.js";
import type { Item } from "../../stores/dynamodb/item.js";
import { serve } from "../support/http.js";
import {
  chunksOf,
  end,
  itemAt,
  lateClient,
  meddle,
  openStage,
  operation,
  proxyTo,
  storeOn,
  urlOf,
  type Stage,
} from "./stage.js";

vi.setConfig({ testTimeout: 60_000, hookTimeout: 120_000 });

let stage: Stage;

beforeAll(async () => {
  stage = await openStage();
});
afterAll(() => stage.close());

const KB = 1_024;
const DAY_S = 24 * 60 * 60;

/** What no compression makes smaller. */
const noise = (bytes: number) => answer({ body: randomBytes(bytes) });

async function stored(response = noise(1_000 * KB)) {
  const key = randomUUID();
  const store = storeOn(stage);
  await complete(store, await acquire(store, key), response);
  return { key, store, response, chunks: await chunksOf(stage, key) };
}

test.each([
  ["1 KB", 1 * KB, 0],
  ["5 KB", 5 * KB, 1],
  ["399 KB", 399 * KB, 2],
  ["401 KB", 401 * KB, 2],
  ["1 MB", 1_024 * KB, 3],
  ["4 MB", 4_096 * KB, 12],
])("a response of %s comes back byte for byte", async (_, bytes, count) => {
  const { key, store, response, chunks } = await stored(noise(bytes));

  await expectCompleted(store, key, response);
  expect(chunks).toHaveLength(count);
});

test("parts of a response may take longer than requests do that are small", async () => {
  const isPart = (name: string, input: { Item?: object }) =>
    name === "BatchGetItemCommand" || (input.Item !== undefined && "part" in input.Item);
  const { late, client } = lateClient(stage, isPart, 1_500);
  const store = storeOn(stage, { client, requestTimeoutMs: 1_000 });
  const lease = await acquire(store, randomUUID());
  const response = noise(1_000 * KB);
  await complete(store, lease, response);

  expect((await store.get(lease.key))?.body).toEqual(response.body);
  expect(late).toEqual([
    ...Array.from({ length: 3 }, () => "PutItemCommand"),
    "BatchGetItemCommand",
  ]);
});

test("text is compressed: 100 KB of JSON need no chunk, and still come back byte for byte", async () => {
  const rows = Array.from({ length: 1_000 }, (_, id) => ({
    id,
    currency: "EUR",
    state: "paid",
    to: "shop",
  }));
  const response = answer({ body: Buffer.from(JSON.stringify(rows)) });
  const { key, store, chunks } = await stored(response);

  await expectCompleted(store, key, response);
  expect(response.body.length).toBeGreaterThan(50 * KB);
  expect(chunks).toEqual([]);
  expect(await itemAt(stage, key)).toMatchObject({ encoding: { S: "br" } });
});

test("what is compressed already is not compressed again", async () => {
  const body = Buffer.from("a".repeat(2_000));
  const { key } = await stored(
    answer({
      body,
      headers: [
        ["Content-Type", "text/plain"],
        ["Content-Encoding", "gzip"],
      ],
    }),
  );

  expect(await itemAt(stage, key)).not.toHaveProperty("encoding");
});

test("a replay asks once for an inline record and twice for a chunked one", async () => {
  const proxy = await proxyTo(stage);
  const store = storeOn(stage, { endpoint: urlOf(proxy) });
  const [small, large] = [await stored(noise(100)), await stored(noise(100 * KB))];
  await store.get("warm");
  proxy.resetTraffic();

  await store.lock(small.key, FINGERPRINT, LONG_MS);
  expect(proxy.traffic.replies).toEqual({ UpdateItem: 1 });
  await store.lock(large.key, FINGERPRINT, LONG_MS);
  expect(proxy.traffic.replies).toEqual({ UpdateItem: 2, BatchGetItem: 1 });
});

test("a first request is two calls, and one more for what is larger than 4 KiB", async () => {
  const proxy = await proxyTo(stage);
  const store = storeOn(stage, { endpoint: urlOf(proxy) });
  await store.get("warm");
  for (const [bytes, puts] of [
    [3 * KB, 1],
    [5 * KB, 2],
  ] as const) {
    proxy.resetTraffic();
    await complete(store, await acquire(store, randomUUID()), noise(bytes));
    expect(proxy.traffic.replies).toEqual({ UpdateItem: 1, PutItem: puts });
  }
});

test("beyond maxRecordBytes a tombstone is kept, and a warning says so", async () => {
  const warned = vi.spyOn(process, "emitWarning").mockImplementation(() => undefined);
  const store = storeOn(stage, { maxRecordBytes: 10 * KB });
  const key = randomUUID();

  await complete(store, await acquire(store, key), noise(11 * KB));

  expect(await store.get(key)).toMatchObject({
    statusCode: 201,
    tombstone: "too-large",
    headers: [],
    body: Buffer.alloc(0),
  });
  expect(warned.mock.calls).toEqual([
    [expect.stringContaining("maxRecordBytes"), { code: "IDEMPOTENCY_DYNAMODB_TOO_LARGE" }],
  ]);
  warned.mockRestore();
});

test("a holder that dies between the chunks and the item: the next attempt runs, and the chunks have a TTL", async () => {
  const proxy = await proxyTo(stage);
  const dying = storeOn(stage, { endpoint: urlOf(proxy), timeoutMs: 3_000 });
  const key = randomUUID();
  const lease = await acquire(dying, key);
  // Its chunks go through, the item that leads to them does not.
  proxy.hold((bytes) => operation("PutItem")(bytes) && bytes.includes('"completed"'));
  const died = dying.set(lease, noise(1_000 * KB), LONG_MS).catch((error: unknown) => error);
  await proxy.until(() => proxy.held > 0);
  await dying.close?.();
  const written = await chunksOf(stage, key);
  expect(written).toHaveLength(3);
  await expectHeld(storeOn(stage), key);
  await end(stage, key);

  const store = storeOn(stage);
  const response = await complete(store, await acquire(store, key), noise(500 * KB));

  await expectCompleted(store, key, response);
  for (const id of written) {
    const ttl = Number((await itemAt(stage, id))?.["expiresAt"]?.N);
    expect(ttl).toBeGreaterThan(Date.now() / 1_000 + DAY_S);
    expect(ttl).toBeLessThan(Date.now() / 1_000 + DAY_S + 2 * (LONG_MS / 1_000));
  }
  await proxy.close();
  expect(await died).toMatchObject({ code: "STORE_UNAVAILABLE" });
});

describe("where a part of a stored response", () => {
  const DAMAGES: Readonly<Record<string, (id: string) => Promise<unknown>>> = {
    "is missing": (id) =>
      stage.client.send(
        new DeleteItemCommand({ TableName: stage.tableName, Key: { id: { S: id } } }),
      ),
    "was changed": (id) =>
      meddle(stage, id, (item) => {
        const part = Buffer.from(item["part"]?.B ?? []);
        part[100] = (part[100] ?? 0) ^ 1;
        return { ...item, part: { B: part } };
      }),
    "was cut short": (id) =>
      meddle(stage, id, (item) => ({
        ...item,
        part: { B: item["part"]?.B?.subarray(1) ?? Buffer.alloc(0) },
      })),
  };

  test.each(Object.entries(DAMAGES))("%s, a retry gets 503 and nothing runs", async (_, damage) => {
    let runs = 0;
    const safe = idempotency(storeOn(stage), {
      onError: () => undefined,
      keyFunc: ({ key }) => key,
    });
    await using server = await serve(
      safe.wrap((_req, res) => {
        runs += 1;
        res.writeHead(201).end(randomBytes(800 * KB));
      }),
    );
    const key = randomUUID();
    expect(await server.send({ key })).toMatchObject({ status: 201 });
    const chunks = await chunksOf(stage, storageKey(key, undefined));
    expect(chunks).toHaveLength(3);

    await damage(chunks[1] ?? "");

    const retry = await server.send({ key });
    expect(retry.status).toBe(503);
    expect(JSON.parse(retry.text)).toMatchObject({ code: "STORE_UNAVAILABLE" });
    expect(runs).toBe(1);
  });
});

const FOREIGN = "was not written by this version of idempotency-kit";
const NOTHING = { NULL: true };
const HASH = { B: Buffer.alloc(32) };

test.each<[what: string, change: Item, says: string]>([
  ["an item of another program", { note: { S: "mine" } }, FOREIGN],
  ["an unknown state", { state: { S: "paused" } }, FOREIGN],
  ["no token", { token: NOTHING }, FOREIGN],
  ["no end", { endsAt: NOTHING }, FOREIGN],
  ["no size", { size: NOTHING }, FOREIGN],
  ["a size of nothing", { size: { N: "0" } }, FOREIGN],
  ["an unknown encoding", { encoding: { S: "lzma" } }, FOREIGN],
  ["no record", { record: NOTHING }, FOREIGN],
  ["no number of chunks", { record: NOTHING, sha256: HASH }, FOREIGN],
  ["no chunks", { record: NOTHING, chunks: { N: "0" }, sha256: HASH }, FOREIGN],
  ["chunks without their hash", { record: NOTHING, chunks: { N: "1" } }, FOREIGN],
  ["another's record", { token: { S: "another" } }, "is not the one that its key's item says"],
  ["a broken encoding", { encoding: { S: "br" } }, "damaged"],
])("%s is not executed again: the store says what it found", async (what, change, says) => {
  const { key, store } = await stored(noise(100));
  await meddle(stage, key, (item) =>
    what.startsWith("an item") ? { id: { S: key }, ...change } : { ...item, ...change },
  );

  const failed = { code: "STORE_UNAVAILABLE", message: expect.stringContaining(says) as string };
  await expect(store.get(key)).rejects.toMatchObject(failed);
  await expect(store.lock(key, FINGERPRINT, LONG_MS)).rejects.toMatchObject(failed);
});
