/** The middleware on the real Middy, with others around and inside. */
import { randomUUID } from "node:crypto";
import withMiddy, { type MiddlewareObj } from "@middy/core";
import type { APIGatewayProxyEventV2, APIGatewayProxyResult, Context } from "aws-lambda";
import { describe, expect, test, vi } from "vitest";
import type { Store } from "../../src/index.js";
import type { IdempotentContext } from "../../src/lambda.js";
import { idempotencyMiddleware } from "../../src/middy.js";
import { memoryStore } from "../../stores/memory.js";
import { fakeClock } from "../support/clock.js";
import { deferred } from "../support/deferred.js";
import { listen } from "../support/events.js";
import { invocation } from "../support/lambda.js";
import { clientSees, eventOf, type Sent } from "./gateway.js";

type Work = (
  event: APIGatewayProxyEventV2,
  context: Context & IdempotentContext,
) => Promise<APIGatewayProxyResult>;
type Middleware = MiddlewareObj<APIGatewayProxyEventV2, APIGatewayProxyResult>;

interface Around {
  readonly outside?: Middleware[];
  readonly inside?: Middleware[];
  readonly store?: Store;
  /** How long before the end of an invocation Middy gives its handler up. */
  readonly timeoutEarlyInMillis?: number;
}

const paid: Work = async () => ({ statusCode: 201, body: randomUUID() });

/** A handler behind the middleware; `send` answers with what the client sees. */
function service(
  work: Work,
  { outside = [], inside = [], store = memoryStore(), timeoutEarlyInMillis = 5 }: Around = {},
) {
  const run = vi.fn<Work>(work);
  const handler = withMiddy<APIGatewayProxyEventV2, APIGatewayProxyResult>({ timeoutEarlyInMillis })
    .use(outside)
    .use(idempotencyMiddleware(store, { onError: () => {} }))
    .use(inside)
    .handler(run);
  const call = handler as (event: unknown, context: unknown) => Promise<unknown>;
  const send = async (sent: Sent = {}, timeoutMs?: number) =>
    clientSees(
      "http-api",
      await call(eventOf("http-api", { key: "k", ...sent }), invocation(timeoutMs)),
    );
  return { run, send, store };
}

test("a retry gets the first answer, and nothing inside runs", async () => {
  const before = vi.fn<() => undefined>();
  const { run, send } = service(paid, { inside: [{ before }] });

  const [first, retry] = [await send(), await send()];

  expect(retry).toMatchObject({ status: 201, body: first.body });
  expect(retry.fields).toMatchObject({ "idempotency-replayed": ["true"] });
  expect(run).toHaveBeenCalledTimes(1);
  expect(before).toHaveBeenCalledTimes(1);
});

test("conflicts, mismatches and missing keys are answers", async () => {
  const [started, finish] = [deferred(), deferred()];
  const { send } = service(async () => {
    started.resolve();
    await finish.promise;
    return { statusCode: 201, body: "" };
  });
  const first = send();
  await started.promise;
  expect(await send()).toMatchObject({ status: 409 });
  expect(await send({ body: "other" })).toMatchObject({ status: 422 });
  expect(await send({ key: "" })).toMatchObject({ status: 400 });
  finish.resolve();
  expect(await first).toMatchObject({ status: 201 });
});

test("without a key all runs as it is", async () => {
  const { run, send } = service(paid);
  const bare = { headers: [], method: "GET" };
  expect((await send(bare)).body).not.toEqual((await send(bare)).body);
  expect(run.mock.calls[0]?.[1]).not.toHaveProperty("idempotency");
});

test("the handler finds its key on the context, and Middy's caller has its own context", async () => {
  const { run, send } = service(paid);
  await send({ key: "mine" });
  expect(run.mock.calls[0]?.[1].idempotency).toMatchObject({ key: "mine" });
});

test("what is inside belongs to the stored response, what is outside comes to first answers", async () => {
  const stamp = (name: string): Middleware => ({
    after: ({ response }) => {
      if (response) response.headers = { ...response.headers, [name]: randomUUID() };
    },
  });
  const { send } = service(paid, { outside: [stamp("outside")], inside: [stamp("inside")] });
  const [first, retry] = [await send(), await send()];
  expect(retry.fields["inside"]).toEqual(first.fields["inside"]);
  expect(first.fields).toHaveProperty("outside");
  expect(retry.fields).not.toHaveProperty("outside");
});

describe("the key is free again", () => {
  const error = new Error("declined");
  const failing = () => {
    throw error;
  };
  test.each<[string, Work, Middleware]>([
    ["the handler throws", failing, { before: () => {} }],
    ["a later middleware's before throws", paid, { before: failing }],
    ["a later middleware's after throws", paid, { after: failing }],
  ])("where %s, and the error is thrown", async (_, work, inside) => {
    const store = memoryStore();
    await expect(service(work, { inside: [inside], store }).send()).rejects.toBe(error);
    expect(await service(paid, { store }).send()).toMatchObject({ status: 201 });
  });
});

describe("an error that another middleware makes a response of", () => {
  const failing: Work = async () => {
    throw new Error("declined");
  };
  const answer = { statusCode: 402, body: "declined" };

  test.each<[string, Middleware]>([
    [
      "by setting it",
      {
        onError: (request) => {
          request.response = answer;
        },
      },
    ],
    ["by returning it early", { onError: () => answer }],
  ])("inside, %s, is a result", async (_, inside) => {
    const { run, send } = service(failing, { inside: [inside] });
    expect(await send()).toMatchObject({ status: 402 });
    expect(await send()).toMatchObject({
      status: 402,
      fields: { "idempotency-replayed": ["true"] },
    });
    expect(run).toHaveBeenCalledTimes(1);
  });

  test("outside is none: the next attempt runs", async () => {
    const { run, send } = service(failing, { outside: [{ onError: () => answer }] });
    expect(await send()).toMatchObject({ status: 402 });
    expect(await send()).toMatchObject({ status: 402 });
    expect(run).toHaveBeenCalledTimes(2);
  });
});

describe("a middleware inside that answers early", () => {
  const early = { statusCode: 200, body: "early" };
  test.each<[string, Middleware, number]>([
    ["in before", { before: () => early }, 0],
    ["in after", { after: () => early }, 1],
  ])("%s: its response is stored before it leaves", async (_, inside, runs) => {
    const store = memoryStore();
    const told: string[] = [];
    const set: Store["set"] = async (...args) => {
      const result = await store.set(...args);
      // Later than all that Middy does without waiting.
      await new Promise((resolve) => setImmediate(resolve));
      told.push("stored");
      return result;
    };
    const { run, send } = service(paid, { inside: [inside], store: { ...store, set } });

    const first = await send();
    told.push("answered");
    expect(told).toEqual(["stored", "answered"]);
    expect(first).toMatchObject({ status: 200, body: Buffer.from("early") });
    expect(await send()).toMatchObject({
      body: first.body,
      fields: { "idempotency-replayed": ["true"] },
    });
    expect(run).toHaveBeenCalledTimes(runs);
  });

  test("and outside: nothing is claimed", async () => {
    const { send, store } = service(paid, { outside: [{ before: () => early }] });
    expect(await send()).toMatchObject({ body: Buffer.from("early") });
    expect(await service(paid, { store }).send()).toMatchObject({ status: 201 });
  });
});

test("P3: a response that cannot be stored is not sent: 503", async () => {
  const set = () => Promise.reject(new Error("down"));
  const { send } = service(paid, { store: { ...memoryStore(), set } });
  expect(await send({}, 150)).toMatchObject({ status: 503 });
});

test("Middy's early timeout leaves the key to its lease: the handler may still be at work", async () => {
  using clock = fakeClock();
  using events = listen();
  const store = memoryStore();
  // Middy's clock is the real one: it gives up at once.
  const { send } = service(() => new Promise<never>(() => {}), {
    store,
    timeoutEarlyInMillis: 3_000,
  });
  await expect(send({}, 3_000)).rejects.toMatchObject({ name: "TimeoutError" });

  expect(events.types).not.toContain("released");
  expect(await service(paid, { store }).send()).toMatchObject({ status: 409 });
  await clock.advance(3_000);
  expect(await service(paid, { store }).send()).toMatchObject({ status: 201 });
});

test("C42: requests at once do not mix", async () => {
  const { send } = service(async (_event, { idempotency }) => ({
    statusCode: 201,
    body: idempotency?.key ?? "",
  }));
  const seen = await Promise.all(["a", "b", "c"].map((key) => send({ key })));
  expect(seen.map(({ body }) => body.toString())).toEqual(["a", "b", "c"]);
});

test("what is no HTTP request is an error of Middy's chain; options that cannot work are refused at once", async () => {
  const onError = vi.fn<() => undefined>();
  const handler = withMiddy()
    .use({ onError })
    .use(idempotencyMiddleware(memoryStore()))
    .handler(async () => "done") as (event: unknown, context: unknown) => Promise<unknown>;
  await expect(handler({ Records: [] }, {})).rejects.toMatchObject({ code: "EVENT_UNKNOWN" });
  expect(onError).toHaveBeenCalledTimes(1);
  expect(() => idempotencyMiddleware(memoryStore(), { ttlMs: 0 })).toThrow(
    /idempotencyMiddleware: ttlMs/,
  );
});
