/** What the SDK does around a request and no emulator checks: credentials, signatures, connections. */
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { createServer, type AddressInfo } from "node:net";
import { createServer as createHttpServer } from "node:http";
import { DynamoDBClient } from "@aws-sdk/client-dynamodb";
import { expect, onTestFinished, test } from "vitest";
import { acquire, answer, FINGERPRINT, LONG_MS } from "../../src/testing/stage.js";
import { dynamodbStore, type DynamodbOptions } from "../../stores/dynamodb.js";
import { clientOf, REGION } from "./stage.js";

const HOUR_MS = 3_600_000;

const HEADERS = { "content-type": "application/x-amz-json-1.0" };

/** How old a signature may be for AWS. */
const SIGNATURE_MS = 300_000;

function storeAt(options: Partial<DynamodbOptions>) {
  const store = dynamodbStore({ tableName: "table", ...options });
  onTestFinished(() => store.close?.());
  return store;
}

/** Knows no items, and refuses signatures of another time as AWS does; its own clock is ahead of ours. */
async function strictServer(aheadMs: number) {
  const answered: string[] = [];
  const refused: string[] = [];
  const server = createHttpServer((request, response) => {
    const now = Date.now() + aheadMs;
    const signed = String(request.headers["x-amz-date"]).replace(
      /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/,
      "$1-$2-$3T$4:$5:$6Z",
    );
    const isStale = Math.abs(Date.parse(signed) - now) > SIGNATURE_MS;
    const operation = String(request.headers["x-amz-target"]).replace(/^.*\./, "");
    (isStale ? refused : answered).push(operation);
    const refusal = isStale
      ? "com.amazon.coral.service#InvalidSignatureException"
      : "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException";
    const isFound = !isStale && operation === "GetItem";
    request.resume().on("end", () => {
      response.writeHead(isFound ? 200 : 400, {
        ...HEADERS,
        date: new Date(now).toUTCString(),
      });
      response.end(JSON.stringify(isFound ? {} : { __type: refusal, message: "no" }));
    });
  });
  onTestFinished(() => void server.close());
  await once(server.listen(0, "127.0.0.1"), "listening");
  const { port } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}`, answered, refused };
}

test.each([-HOUR_MS, HOUR_MS])(
  "a signature of another time is made again at once, with AWS's time (%i ms ahead)",
  async (aheadMs) => {
    const { url, answered, refused } = await strictServer(aheadMs);
    const store = storeAt({ region: REGION, endpoint: url, timeoutMs: 15_000 });

    expect(await store.get("key")).toBeUndefined();
    await store.unlock({ key: "key", token: "t", fingerprint: FINGERPRINT, validUntil: 0 });

    expect(refused).toEqual(["GetItem"]);
    // What is refused for another reason is not repeated for that one.
    expect(answered).toEqual(["GetItem", "DeleteItem"]);
  },
);

test("credentials that nobody gives cost a verb no more than its time", async () => {
  const { url } = await strictServer(0);
  const client = new DynamoDBClient({
    region: REGION,
    endpoint: url,
    credentials: () => new Promise(() => {}),
  });
  onTestFinished(() => client.destroy());
  const store = storeAt({ client, timeoutMs: 300, requestTimeoutMs: 100 });
  const started = performance.now();

  await expect(store.lock("key", FINGERPRINT, LONG_MS)).rejects.toMatchObject({
    code: "STORE_UNAVAILABLE",
    message: expect.stringMatching(/no reply within \d+ ms.*timeoutMs/),
  });

  expect(performance.now() - started).toBeLessThan(300 + 2_000);
});

test.each([
  ["of the store's own", (endpoint: string) => ({ endpoint, region: REGION })],
  ["that was given", (endpoint: string) => ({ client: clientOf(endpoint) })],
])(
  "a request that nobody waits for any more keeps no connection, with a client %s",
  async (_, at) => {
    const ends: Promise<unknown>[] = [];
    const silent = createServer((socket) => ends.push(once(socket.resume(), "close")));
    onTestFinished(() => void silent.close());
    await once(silent.listen(0, "127.0.0.1"), "listening");
    const { port } = silent.address() as AddressInfo;
    const options = at(`http://127.0.0.1:${port}`);
    const store = storeAt({ ...options, timeoutMs: 300, requestTimeoutMs: 100 });

    await expect(store.get("key")).rejects.toThrow(/no reply within 100 ms/);

    expect(ends.length).toBeGreaterThan(1);
    await Promise.all(ends);
  },
);

test("parts of a response may take longer than small requests do, with a client of the store's own too", async () => {
  const slow = createHttpServer((request, response) => {
    request.resume().on("end", () => {
      const isLarge = Number(request.headers["content-length"]) > 100_000;
      setTimeout(() => response.writeHead(200, HEADERS).end("{}"), isLarge ? 1_000 : 0);
    });
  });
  onTestFinished(() => void slow.close());
  await once(slow.listen(0, "127.0.0.1"), "listening");
  const { port } = slow.address() as AddressInfo;
  const endpoint = `http://127.0.0.1:${port}`;
  const store = storeAt({ endpoint, region: REGION, timeoutMs: 15_000, requestTimeoutMs: 500 });
  const lease = await acquire(store, "key");

  const set = store.set(lease, answer({ body: randomBytes(200_000) }), LONG_MS);
  await expect(set).resolves.toMatchObject({ state: "stored" });
});

test.each(["localhost", "127.0.0.1"])(
  "an endpoint that refuses connections is named as such: %s",
  async (host) => {
    const server = createServer();
    await once(server.listen(0, host), "listening");
    const { port } = server.address() as AddressInfo;
    await new Promise((resolve) => {
      server.close(resolve);
    });
    const endpoint = `http://${host}:${port}`;
    const store = storeAt({ region: REGION, endpoint, timeoutMs: 300 });

    await expect(store.lock("key", FINGERPRINT, LONG_MS)).rejects.toMatchObject({
      code: "STORE_UNAVAILABLE",
      message: expect.stringMatching(/ECONNREFUSED.*endpoint/),
    });
  },
);

test("a host that does not exist is named as such", async () => {
  const endpoint = "http://dynamodb.invalid:8000";
  const store = storeAt({ region: REGION, endpoint, timeoutMs: 2_000 });

  await expect(store.lock("key", FINGERPRINT, LONG_MS)).rejects.toThrow(
    /(ENOTFOUND|EAI_AGAIN).*endpoint/,
  );
});
