/** What handlers return, in all forms that the senders of events know, and what becomes of what is none. */
import { describe, expect, test } from "vitest";
import { idempotency as middleware, type IdempotencyError } from "../../src/index.js";
import { idempotentHandler, type IdempotentContext, type LambdaOptions } from "../../src/lambda.js";
import { memoryStore } from "../../stores/memory.js";
import { serve } from "../support/http.js";
import { invocation } from "../support/lambda.js";
import { clientSees, eventOf, KINDS, type Kind } from "./gateway.js";

const V2 = ["http-api", "function-url"] as const;

/** The first answer and a retry's, to a handler that returns `result`, as they are and as the client sees them. */
async function twice(kind: Kind, result: unknown, options: Partial<LambdaOptions> = {}) {
  const errors: IdempotencyError[] = [];
  const handler = idempotentHandler(async () => result, memoryStore(), {
    onError: (error) => errors.push(error as IdempotencyError),
    ...options,
  });
  const event = eventOf(kind, { key: "k" });
  const answers = [await handler(event, invocation()), await handler(event, invocation())];
  return { answers, seen: answers.map((answer) => clientSees(kind, answer)), errors };
}

describe.each(V2)("%s without a status", (kind) => {
  test.each<[string, unknown, string]>([
    ["an object is its JSON", { id: 1, nested: [null, "ä"] }, '{"id":1,"nested":[null,"ä"]}'],
    ["text is the body", "Hello from Lambda!", "Hello from Lambda!"],
    ["a list is its JSON", [1, 2], "[1,2]"],
    ["a number is its JSON", 7, "7"],
    ["nothing is null", undefined, "null"],
  ])("%s, with status 200, for the first client and the next", async (_, result, body) => {
    const { seen } = await twice(kind, result);
    for (const answer of seen) {
      expect(answer).toMatchObject({
        status: 200,
        fields: { "content-type": ["application/json"] },
        body: Buffer.from(body),
      });
    }
    expect(seen.map(({ fields }) => fields["idempotency-replayed"])).toEqual([undefined, ["true"]]);
  });
});

test.each<[string, Kind, unknown]>([
  ["no status", "rest", { body: "x" }],
  ["nothing at all", "alb", undefined],
  ["a status that is none", "http-api", { statusCode: 42, body: "x" }],
  ["a body that is no string", "http-api", { statusCode: 201, body: { id: 1 } }],
  ["headers that are a list", "rest", { statusCode: 201, headers: ["a"], body: "" }],
  ["a header that is an object", "alb", { statusCode: 201, headers: { a: {} }, body: "" }],
  ["a single value among lists", "rest", { statusCode: 201, multiValueHeaders: { a: "b" } }],
  ["cookies that are no list", "function-url", { statusCode: 201, cookies: "a=1" }],
  ["what is no JSON", "function-url", { amount: 1n }],
  ["a function", "function-url", () => {}],
])(
  "P6: %s is no response: 410 at once and for the retry, which does not run",
  async (_, kind, result) => {
    const { seen, errors } = await twice(kind, result);
    expect(seen.map(({ status }) => status)).toEqual([410, 410]);
    expect(errors).toMatchObject([{ code: "RESPONSE_NOT_KEPT" }]);
  },
);

test("P6: a response that is none and shall not be stored is the handler's own business", async () => {
  const handler = idempotentHandler(async (_event, { idempotency }: IdempotentContext) => {
    idempotency?.doNotStore();
    return { statusCode: 201, body: 5 };
  }, memoryStore());
  expect(await handler(eventOf("rest", { key: "k" }), {})).toEqual({ statusCode: 201, body: 5 });
});

test.each(KINDS)(
  "text in base64 is the same bytes for the first client and the next in %s",
  async (kind) => {
    const result = {
      statusCode: 200,
      body: Buffer.from("päid").toString("base64"),
      isBase64Encoded: true,
    };
    const { answers, seen } = await twice(kind, result);
    expect(seen.map(({ body }) => body.toString())).toEqual(["päid", "päid"]);
    // Whether base64 is decoded is a setting of REST APIs, so both are spelled alike.
    expect(answers).toMatchObject([{ isBase64Encoded: false }, { isBase64Encoded: false }]);
  },
);

test("fields of REST may be in both maps; the same pair in both is one", async () => {
  const { seen } = await twice("rest", {
    statusCode: 200,
    headers: { "X-A": "1", "x-b": true, "X-None": undefined },
    multiValueHeaders: { "x-a": ["1", "2"], "X-C": ["3"] },
    body: "",
  });
  const fields = { "x-a": ["1", "2"], "x-b": ["true"], "x-c": ["3"] };
  expect(seen).toMatchObject([{ fields }, { fields }]);
});

test.each<[Kind, object]>([
  ["alb", { multiValueHeaders: { "X-A": ["1"] } }],
  ["alb-multi", { headers: { "X-A": "1" } }],
  ["http-api", { multiValueHeaders: { "X-A": ["1"] } }],
  ["rest", { cookies: ["x-a=1"] }],
])("what %s does not read reaches no client, first or later", async (kind, fields) => {
  const { seen } = await twice(kind, { statusCode: 200, body: "", ...fields });
  expect(seen[0]?.fields).toEqual({});
  expect(Object.keys(seen[1]?.fields ?? {})).toEqual(["idempotency-replayed", "cache-control"]);
});

test("a balancer gets the map that it reads, and a status with its reason", async () => {
  const made = { statusCode: 201, statusDescription: "201 Paid", body: "" };
  const single = await twice("alb", { ...made, headers: { A: "1" } });
  const multi = await twice("alb-multi", { ...made, multiValueHeaders: { A: ["1"] } });

  expect(single.answers[1]).toMatchObject({ statusDescription: "201 Paid", headers: { A: "1" } });
  expect(single.answers[1]).not.toHaveProperty("multiValueHeaders");
  expect(multi.answers[1]).toMatchObject({ multiValueHeaders: { A: ["1"] } });
  expect(multi.answers[1]).not.toHaveProperty("headers");
  const plain = await twice("alb", { statusCode: 200, body: "" });
  expect(plain.answers[1]).toMatchObject({ statusDescription: "200 OK" });
});

test.each(KINDS)(
  "a problem comes in the form of %s, with links and statuses of the service",
  async (kind) => {
    const handler = idempotentHandler(async () => ({ statusCode: 200, body: "" }), memoryStore(), {
      required: true,
      docsUrl: "https://pay.example/keys",
      statusCodes: { KEY_MISSING: 428 },
    });
    const seen = clientSees(kind, await handler(eventOf(kind), {}));

    expect(seen).toMatchObject({
      status: 428,
      fields: {
        "content-type": ["application/problem+json"],
        link: ['<https://pay.example/keys>; rel="describedby"'],
      },
    });
    expect(JSON.parse(seen.body.toString())).toMatchObject({
      type: "https://pay.example/keys#key-missing",
      title: "Idempotency-Key is missing",
      status: 428,
      code: "KEY_MISSING",
    });
  },
);

test("onReplay adds fields to a replay, but none that concern framing; one that throws adds none", async () => {
  const result = { statusCode: 200, headers: { Age: "1", "X-A": "1" }, body: "" };
  const added = await twice("http-api", result, {
    onReplay: () => ({ "x-a": "2", "Content-Length": "9", "X-Bad": "\n" }),
  });
  expect(added.seen[1]?.fields).toEqual({
    "x-a": ["2"],
    "idempotency-replayed": ["true"],
    "cache-control": ["no-store"],
  });
  const failing = await twice("http-api", result, {
    onReplay: () => {
      throw new Error("no");
    },
  });
  expect(failing.seen[1]?.fields).toMatchObject({ "x-a": ["1"] });
});

test("shouldStore sees the response as the client does", async () => {
  const { seen } = await twice(
    "http-api",
    { status: "declined" },
    { shouldStore: ({ body }) => !Buffer.from(body).toString().includes("declined") },
  );
  expect(seen[1]?.fields).not.toHaveProperty("idempotency-replayed");
});

describe("the handler", () => {
  test("keeps its this, and gets further arguments", async () => {
    const service = {
      name: "payments",
      handler: idempotentHandler(async function (this: { name: string }, ...args: unknown[]) {
        return { statusCode: 200, body: JSON.stringify([this.name, args[2]]) };
      }, memoryStore()),
    };
    const call = service.handler as (...args: unknown[]) => Promise<unknown>;
    const answer = await call.call(service, eventOf("rest", { key: "k" }), {}, "third");
    expect(answer).toMatchObject({ body: '["payments","third"]' });
  });

  test("finds its key on a context of its own; the caller's stays as it was", async () => {
    const seen: IdempotentContext[] = [];
    let waits = true;
    const context: ReturnType<typeof invocation> & { callbackWaitsForEmptyEventLoop: boolean } = {
      ...invocation(),
      // As Lambda's own has it.
      get callbackWaitsForEmptyEventLoop() {
        return waits;
      },
      set callbackWaitsForEmptyEventLoop(value) {
        waits = value;
      },
    };
    const handler = idempotentHandler(async (_event, given: IdempotentContext & typeof context) => {
      seen.push(given);
      given.callbackWaitsForEmptyEventLoop = false;
      expect(given.getRemainingTimeInMillis()).toBeGreaterThan(0);
      return { statusCode: 200, body: given.idempotency?.deriveKey("charge") };
    }, memoryStore());
    await handler(eventOf("rest", { key: '"k"' }), context);

    expect(seen[0]?.idempotency).toMatchObject({ key: "k", token: expect.any(String) });
    expect(context).not.toHaveProperty("idempotency");
    expect(waits).toBe(false);
  });

  test("runs without protection where the store is down and the options say so", async () => {
    const broken = { ...memoryStore(), lock: () => Promise.reject(new Error("down")) };
    const handler = idempotentHandler(
      async (_event, { idempotency: given }: IdempotentContext) => ({
        statusCode: 200,
        body: given === undefined ? "no key" : given.key,
      }),
      broken,
      { onStoreFailure: "execute" },
    );
    expect(await handler(eventOf("rest", { key: "k" }), {})).toMatchObject({ body: "no key" });
  });

  test("is not asked where a function given as an option throws, which is thrown", async () => {
    const error = new Error("no tenant service");
    const handler = idempotentHandler(async () => ({ statusCode: 200, body: "" }), memoryStore(), {
      scope: () => {
        throw error;
      },
    });
    await expect(handler(eventOf("rest", { key: "k" }), {})).rejects.toBe(error);
  });

  test("inside another: the refusal of the inner is no result of the outer", async () => {
    const store = memoryStore();
    let isRefused = true;
    const inner = idempotentHandler(async () => ({ statusCode: 200, body: "paid" }), store, {
      headerName: "Inner-Key",
      scope: () => (isRefused ? undefined : "tenant"),
    });
    const outer = idempotentHandler(inner, store);
    const event = eventOf("rest", { key: "k", headers: [["Inner-Key", "i"]] });

    expect(clientSees("rest", await outer(event, {}))).toMatchObject({ status: 400 });
    isRefused = false;
    expect(clientSees("rest", await outer(event, {}))).toMatchObject({ status: 200 });
  });
});

describe("refused at construction:", () => {
  const streaming = Object.assign(async () => {}, {
    [Symbol.for("aws.lambda.runtime.handler.streaming")]: "response",
  });
  test.each<[string, unknown, RegExp]>([
    ["a handler with a callback", (_a: unknown, _b: unknown, _c: unknown) => {}, /callback/],
    ["a handler that streams", streaming, /streams/],
    ["no handler", undefined, /function/],
  ])("%s", (_, handler, message) => {
    expect(() => idempotentHandler(handler as () => unknown, memoryStore())).toThrow(message);
  });

  test("C43: options that cannot work, all at once; and what is no store", () => {
    const wrong = { ttlMs: 0, leaseTime: 1 } as object;
    expect(() => idempotentHandler(async () => {}, memoryStore(), wrong)).toThrow(
      /idempotentHandler: unknown option 'leaseTime'.*ttlMs must be/,
    );
    expect(() => idempotentHandler(async () => {}, {} as never)).toThrow(/lacks lock/);
  });

  test("and at the first call, to be wrapped in streamifyResponse", async () => {
    const handler = idempotentHandler(async () => ({ statusCode: 200, body: "" }), memoryStore());
    const stream = { write: () => true };
    await expect(handler(eventOf("rest"), stream as object)).rejects.toMatchObject({
      code: "OPTIONS_INVALID",
      message: expect.stringContaining("streamifyResponse"),
    });
  });
});

test("a service that moves from Lambda to a server keeps its keys", async () => {
  const store = memoryStore();
  const handler = idempotentHandler(
    async () => ({ statusCode: 201, headers: { "X-A": "1" }, body: "paid" }),
    store,
  );
  await handler(eventOf("http-api", { key: "k", path: "/payments", body: "pay" }), {});
  const safe = middleware(store);
  await using server = await serve(safe.wrap((_req, res) => res.end("paid again")));

  const retry = await server.send({ key: "k", path: "/payments", body: "pay" });
  expect(retry).toMatchObject({ status: 201, text: "paid", headers: { "x-a": "1" } });
});
