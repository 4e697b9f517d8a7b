/** The examples: each is compiled against the built package and run as its readers would. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { startProxy } from "../support/fault-proxy.js";
import { compile, consumer, printed, serve, type Consumer } from "./consumer.js";

const folder = new URL("../../docs/examples/", import.meta.url);
const names = readdirSync(folder).filter((name) => name.endsWith(".ts"));
const PEERS = ["@hono", "@nestjs", "fastify", "hono"];
const SERVERS = ["express.ts", "fastify.ts", "hono.ts", "http.ts", "nestjs.ts"];

let project: Consumer;
let complaints: string;

beforeAll(async () => {
  const sources = names.map((name) => [name, readFileSync(new URL(name, folder), "utf8")] as const);
  project = await consumer(Object.fromEntries(sources), {
    peers: PEERS,
    // As NestJS has it.
    compilerOptions: { experimentalDecorators: true },
  });
  complaints = await compile(project);
});

afterAll(() => project[Symbol.asyncDispose]());

test("all type-check", () => {
  expect(names).toEqual(expect.arrayContaining([...SERVERS, "client.ts", "lambda.ts", "sqs.ts"]));
  expect(complaints).toBe("");
});

test.each(SERVERS)(
  "%s: a payment retried is answered with the same bytes, another is refused",
  async (name) => {
    await using server = await serve(project, name.replace(".ts", ".js"));
    const pay = (amount: number) =>
      fetch(`${server.origin}/payments`, {
        method: "POST",
        headers: { "Content-Type": "application/json", "Idempotency-Key": "k" },
        body: JSON.stringify({ amount }),
      });
    const [first, retry, other] = [await pay(1), await pay(1), await pay(2)];

    expect([first, retry, other].map(({ status }) => status)).toEqual([201, 201, 422]);
    expect(retry.headers.get("idempotency-replayed")).toBe("true");
    const text = await first.text();
    expect(JSON.parse(text)).toMatchObject({ amount: 1 });
    expect(await retry.text()).toBe(text);
  },
);

test("client.ts: a payment whose reply is lost is made once, and a later run gets it too", async () => {
  await using server = await serve(project, "express.js");
  const proxy = await startProxy(Number(new URL(server.origin).port));
  onTestFinished(() => proxy.close());
  const built = pathToFileURL(join(project.folder, "out/client.js")).href;
  const { pay } = (await import(built)) as {
    pay: (shop: string, order: object) => Promise<{ id: string }>;
  };
  const order = { orderId: "o1", amount: 5 };
  const cut = proxy.cutAfterRequest((bytes) => bytes.includes("o1"));

  const { id } = await pay(`http://127.0.0.1:${proxy.port}`, order);
  await cut;

  expect(await pay(server.origin, order)).toMatchObject({ id, amount: 5 });
  await expect(pay(server.origin, { ...order, amount: 6 })).rejects.toThrow("refused: 422");
});

const CONTEXT = "{ getRemainingTimeInMillis: () => 30_000 }";
const ENVIRONMENT = { IDEMPOTENCY_STORE: "memory:" };

test("lambda.ts: a payment retried gets the same answer", async () => {
  const event = JSON.parse(
    readFileSync(new URL("../lambda/events/http-api.json", import.meta.url), "utf8"),
  ) as { headers: object };
  const sent = {
    ...event,
    headers: { "content-type": "application/json", "idempotency-key": "k" },
    body: '{"amount":1}',
    isBase64Encoded: false,
  };
  const code = `
    const { handler } = await import("./lambda.js");
    const pay = () => handler(${JSON.stringify(sent)}, ${CONTEXT});
    const [first, retry] = [await pay(), await pay()];
    console.log(first.statusCode, retry.statusCode, first.body === retry.body, JSON.parse(first.body).amount);`;

  expect(await printed(project, code, ENVIRONMENT)).toBe("201 201 true 1");
});

test("sqs.ts: a record delivered twice is charged once, and a broken one comes again alone", async () => {
  const record = (messageId: string, body: string) => ({
    messageId,
    body,
    eventSourceARN: "arn:aws:sqs:eu-central-1:1:orders",
    attributes: {},
  });
  const records = [
    record("1", '{"orderId":"o1","amount":5}'),
    record("2", '{"orderId":"o1","amount":5}'),
    record("3", "{}"),
  ];
  const code = `
    console.error = () => {};
    const { handler } = await import("./sqs.js");
    for (const Records of [${JSON.stringify(records)}, [${JSON.stringify(records[0])}]]) {
      console.log(JSON.stringify(await handler({ Records }, ${CONTEXT})));
    }`;
  const lines = (await printed(project, code, ENVIRONMENT)).split("\n");

  expect(lines.filter((line) => line === "charged 5 for o1")).toHaveLength(1);
  expect(lines.at(-1)).toBe('{"batchItemFailures":[]}');
});
