/** The standard decorator, compiled by TypeScript as in a project that uses the package. */
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { compile, consumer, type Consumer } from "../layout/consumer.js";
import { invocation } from "../support/lambda.js";
import { clientSees, eventOf } from "./gateway.js";

const SOURCE = `
import { idempotent, type HttpEvent, type IdempotentContext, type LambdaContext } from "idempotency-kit/lambda";
import { memoryStore } from "idempotency-kit/memory";

const store = memoryStore();
interface Order { readonly id: string }

export class Payments {
  runs = 0;
  #currency = "EUR";

  @idempotent(store, { required: true })
  async handler(_event: HttpEvent, context: LambdaContext & IdempotentContext) {
    this.runs += 1;
    return { statusCode: 201, body: \`\${this.#currency} \${context.idempotency?.key}\` };
  }

  @idempotent(store, { name: "charge", key: (order: Order) => order.id })
  async charge(order: Order): Promise<string> {
    this.runs += 1;
    return \`\${this.#currency} \${order.id}\`;
  }

  @idempotent(store, { name: "refund", key: (id: string) => id })
  static async refund(id: string) {
    return { refunded: id, by: this.name };
  }
}
`;

const WRONG = `
import { idempotent } from "idempotency-kit/lambda";
import { memoryStore } from "idempotency-kit/memory";

export class Payments {
  @idempotent(memoryStore(), { name: "charge", key: (id: string) => id })
  charge(id: string) { return id; }
}
`;

interface Payments {
  runs: number;
  handler(event: unknown, context: unknown): Promise<unknown>;
  charge(order: { id: string }): Promise<string>;
}

interface PaymentsClass {
  new (): Payments;
  refund(id: string): Promise<unknown>;
}

// The compiler takes its time.
vi.setConfig({ hookTimeout: 60_000 });

let project: Consumer;
let complaints: string;
let Payments: PaymentsClass;

beforeAll(async () => {
  project = await consumer({ "payments.ts": SOURCE, "wrong.ts": WRONG });
  complaints = await compile(project);
  const built = pathToFileURL(join(project.folder, "out/payments.js")).href;
  ({ Payments } = (await import(built)) as { Payments: PaymentsClass });
});
afterAll(() => project[Symbol.asyncDispose]());

test("the decorated class compiles as written; a method that returns no promise does not", () => {
  const places = [...complaints.matchAll(/^\S+\(\d+(?=,\d+\): error TS)/gm)].map(String);
  expect(new Set(places)).toEqual(new Set(["wrong.ts(6"]));
});

test("a method is a handler of HTTP requests, and keeps its this", async () => {
  const payments = new Payments();
  const send = async (key?: string) => {
    const event = eventOf("http-api", key === undefined ? {} : { key });
    return clientSees("http-api", await payments.handler(event, invocation()));
  };
  expect(await send("k1")).toMatchObject({ status: 201, body: Buffer.from("EUR k1") });
  expect(await send("k1")).toMatchObject({ fields: { "idempotency-replayed": ["true"] } });
  expect(await send()).toMatchObject({ status: 400 });
  expect(payments.runs).toBe(1);
});

test("with a key function it is a function whose calls have a key, for all instances", async () => {
  const [one, other] = [new Payments(), new Payments()];
  expect([await one.charge({ id: "o1" }), await other.charge({ id: "o1" })]).toEqual([
    "EUR o1",
    "EUR o1",
  ]);
  expect([one.runs, other.runs]).toEqual([1, 0]);
});

test("a static method may be one too", async () => {
  expect(await Payments.refund("r1")).toEqual({ refunded: "r1", by: "Payments" });
});

test("compiled as a legacy decorator it says so, instead of leaving the method unprotected", async () => {
  await using legacy = await consumer(
    { "payments.ts": SOURCE },
    { compilerOptions: { experimentalDecorators: true } },
  );
  await compile(legacy);
  const built = pathToFileURL(join(legacy.folder, "out/payments.js")).href;
  await expect(import(built)).rejects.toThrow("compile without experimentalDecorators");
});
