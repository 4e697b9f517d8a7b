/** The packaged handlers in execution environments as Lambda's are: cold, warm, frozen, thawed, killed. */
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from "vitest";
import { itemAt, openStage, REGION, type Stage } from "../dynamodb/stage.js";
import { clientSees, eventOf, type Kind } from "../lambda/gateway.js";
import { Environment, type Invoked } from "./environment.js";
import { tapOn, type Tap } from "./tap.js";

// For machines that are slow; what hangs is still found.
vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

/** Short, so that a freeze can outlast it; a third of it is what the store may take, time enough for a second attempt. */
const LEASE_MS = 4_500;

/** How exactly a store knows DynamoDB's time: its replies tell it in whole seconds. */
const CLOCK_ERROR_MS = 1_000;

let stage: Stage;
let tap: Tap;

beforeAll(async () => {
  stage = await openStage();
  tap = await tapOn(stage.server.port);
});
afterAll(async () => {
  tap.close();
  await stage.close();
});

async function start(handler = "payments", env: Record<string, string> = {}) {
  const environment = await Environment.start(`dist/lambda/handler.${handler}`, {
    IDEMPOTENCY_STORE: `dynamodb://${stage.tableName}?region=${REGION}&endpoint=${tap.url}`,
    ...env,
  });
  onTestFinished(() => environment.close());
  return environment;
}

interface Order {
  readonly key?: string;
  readonly amount?: number;
  readonly delayMs?: number;
}

function paymentEvent({ key, amount = 1999, delayMs = 0 }: Order, kind: Kind = "http-api") {
  const event = eventOf(kind, {
    ...(key !== undefined && { key }),
    query: `delayMs=${delayMs}`,
    headers: [["Content-Type", "application/json"]],
    body: JSON.stringify({ amount, currency: "EUR" }),
  });
  return { ...event, queryStringParameters: { delayMs: `${delayMs}` } };
}

async function pay(environment: Environment, order: Order, kind: Kind = "http-api") {
  return seen(await environment.invoke(paymentEvent(order, kind)), kind);
}

function seen({ kind: outcome, value }: Invoked, kind: Kind = "http-api") {
  expect(outcome).toBe("response");
  const { status, fields, body } = clientSees(kind, value);
  const text = body.toString();
  const retryAfterMs = Number(fields["retry-after"]?.[0]) * 1_000;
  return { status, text, replayed: "idempotency-replayed" in fields, retryAfterMs };
}

function chargesOf(...environments: readonly Environment[]): number {
  return environments.flatMap(({ log }) => log.match(/"charged"/g) ?? []).length;
}

describe.each(["http-api", "rest"] as const)("%s", (kind) => {
  test("a cold start pays; warm, a retry is replayed, and what is wrong is refused", async () => {
    const environment = await start();
    const key = randomUUID();
    const first = await pay(environment, { key }, kind);
    expect(first).toMatchObject({ status: 201, replayed: false });
    expect(await pay(environment, { key }, kind)).toEqual({ ...first, replayed: true });
    expect(await pay(environment, { key, amount: 1 }, kind)).toMatchObject({ status: 422 });
    expect(await pay(environment, {}, kind)).toMatchObject({ status: 400 });
    expect(chargesOf(environment)).toBe(1);
  });
});

test("frozen between invocations: no heartbeat of one comes in the next, which is answered on new connections", async () => {
  const environment = await start("payments", { IDEMPOTENCY_LEASE_MS: `${LEASE_MS}` });
  const slow = { key: randomUUID(), delayMs: 0.8 * LEASE_MS };
  tap.calls.length = 0;
  const first = await pay(environment, slow);
  expect(first).toMatchObject({ status: 201, replayed: false });
  const [id] = new Set(tap.calls.map((call) => call.id));
  // The claim, and what the heart beat.
  const updates = tap.calls.filter(({ operation }) => operation === "UpdateItem");
  expect(updates.length).toBeGreaterThan(1);

  // Another beat would be due, on a lease that is not over.
  await environment.freeze();
  tap.calls.length = 0;
  await sleep(0.4 * LEASE_MS);
  tap.reset();
  const next = { key: randomUUID(), delayMs: 0.2 * LEASE_MS };
  const second = await pay(environment, next);
  expect(second).toMatchObject({ status: 201, replayed: false });
  expect(tap.calls.length).toBeGreaterThan(1);
  expect(tap.calls.filter((call) => call.id === id)).toEqual([]);

  // Longer than a lease.
  await environment.freeze();
  await sleep(1.1 * LEASE_MS);
  tap.lose();
  expect(await pay(environment, slow)).toEqual({ ...first, replayed: true });
  expect(await pay(environment, next)).toEqual({ ...second, replayed: true });
  expect(chargesOf(environment)).toBe(2);
});

test("killed at its deadline: the key stays taken no longer than that, and then a retry pays", async () => {
  const [killed, fresh] = [await start(), await start()];
  // Warm, so that they answer at once: a first call to DynamoDB takes long on a busy machine, and would be refused in time.
  for (const environment of [killed, fresh]) await pay(environment, { key: randomUUID() });
  const slow = { key: randomUUID(), delayMs: 4_500 };
  tap.calls.length = 0;
  const { kind, deadline } = await killed.invoke(paymentEvent(slow), 3_000);
  expect(kind).toBe("timed-out");
  expect(chargesOf(killed)).toBe(1);

  const [{ id } = { id: "" }] = tap.calls;
  const endsAt = Number((await itemAt(stage, id))?.["endsAt"]?.N);
  expect(endsAt).toBeLessThanOrEqual(deadline + CLOCK_ERROR_MS);
  expect(endsAt).toBeGreaterThan(deadline - CLOCK_ERROR_MS);

  const refusals: number[] = [];
  let retry = await pay(fresh, slow);
  while (retry.status === 409) {
    refusals.push(retry.retryAfterMs);
    await sleep(retry.retryAfterMs);
    retry = await pay(fresh, slow);
  }
  expect(retry).toMatchObject({ status: 201, replayed: false });
  expect(Date.now()).toBeGreaterThan(endsAt);
  // One until the lease is over, one or two until everybody's clock says so.
  expect(refusals.length).toBeGreaterThan(0);
  expect(refusals.length).toBeLessThanOrEqual(3);
  expect(await pay(fresh, slow)).toEqual({ ...retry, replayed: true });
  expect(chargesOf(fresh)).toBe(2);
});

test("a batch of orders: a second delivery is not charged again, and what fails comes back alone", async () => {
  const environment = await start("orders");
  const order = () => JSON.stringify({ orderId: randomUUID(), amount: 1999, currency: "EUR" });
  const [paid, unpaid] = [order(), order()];
  const batch = (...bodies: readonly string[]) =>
    environment.invoke({
      Records: bodies.map((body, at) => ({
        messageId: `message-${at}`,
        body,
        eventSourceARN: "arn:aws:sqs:eu-central-1:123456789012:orders",
        attributes: {},
      })),
    });
  expect((await batch(paid)).value).toEqual({ batchItemFailures: [] });
  expect(chargesOf(environment)).toBe(1);

  const { value } = await batch(paid, '{"orderId":"no amount"}', unpaid, "no JSON", "{}");
  expect(value).toEqual({
    batchItemFailures: [1, 3, 4].map((at) => ({ itemIdentifier: `message-${at}` })),
  });
  expect(chargesOf(environment)).toBe(2);
});
