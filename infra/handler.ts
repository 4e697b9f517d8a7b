/** The payments service on AWS Lambda, as serverless.yml deploys it: its handlers, safe to retry. */
import { randomUUID } from "node:crypto";
import { STATUS_CODES } from "node:http";
import { setTimeout as delay } from "node:timers/promises";
// Elsewhere: from "idempotency-kit/lambda" and "idempotency-kit/env".
import {
  idempotentBatch,
  idempotentHandler,
  type HttpEvent,
  type IdempotentContext,
  type LambdaAnswer,
} from "../src/lambda.js";
import { optionsFromEnv, storeFromEnv } from "../stores/from-env.js";
import { BadRequest, delayMsOf, orderIdOf, orderOf, type Order } from "./order.js";

// Once per instance, and shared by its invocations.
const store = await storeFromEnv();
const options = optionsFromEnv();
/** A queue has no headers. */
const { required: _, headerName: __, ...queueOptions } = options;

/** `POST /payments`, over API Gateway's HTTP API and its REST API alike. */
export const payments = idempotentHandler(pay, store, { required: true, ...options });

/** Orders from a queue: a duplicate is not charged again, and a failure comes back alone. */
export const orders = idempotentBatch(
  async (record, { idempotency }: IdempotentContext) => {
    charge(orderOf(bodyOf(record)), idempotency);
  },
  store,
  { ...queueOptions, name: "orders", key: (record) => orderIdOf(bodyOf(record)) },
);

interface PaymentEvent extends HttpEvent {
  readonly queryStringParameters?: Readonly<Record<string, string | undefined>> | null;
}

async function pay(
  event: PaymentEvent,
  { idempotency }: IdempotentContext,
): Promise<Partial<LambdaAnswer>> {
  try {
    const delayMs = delayMsOf(event.queryStringParameters?.["delayMs"]);
    const order = orderOf(bodyOf(event));
    if (delayMs > 0) await delay(delayMs, undefined, { signal: idempotency?.signal });
    return json(201, charge(order, idempotency));
  } catch (error) {
    if (!(error instanceof BadRequest)) throw error;
    const problem = { title: STATUS_CODES[400], status: 400, detail: error.message };
    return json(400, problem, "application/problem+json");
  }
}

/** Where a real service calls its payment provider. */
function charge({ amount, currency }: Order, idempotency: IdempotentContext["idempotency"]) {
  // The last look before the money moves: without the lease, a retry of this request may be running elsewhere.
  if (!idempotency?.held) throw new Error("The lease was lost: nothing was charged.");
  const payment = { id: randomUUID(), amount, currency, createdAt: new Date().toISOString() };
  console.log(JSON.stringify({ charged: payment.id }));
  return payment;
}

function bodyOf({ body, isBase64Encoded }: Pick<HttpEvent, "body" | "isBase64Encoded">): unknown {
  try {
    return JSON.parse(Buffer.from(body ?? "", isBase64Encoded ? "base64" : "utf8").toString());
  } catch {
    throw new BadRequest("The body must be JSON.");
  }
}

function json(statusCode: number, value: unknown, type = "application/json") {
  return { statusCode, headers: { "Content-Type": type }, body: JSON.stringify(value) };
}
