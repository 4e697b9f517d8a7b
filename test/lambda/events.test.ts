/** Events as requests: whose they are, and what of them is compared. */
import * as fc from "fast-check";
import { describe, expect, test, vi } from "vitest";
import type { KeyedRequest } from "../../src/index.js";
import { idempotentHandler, type HttpEvent, type LambdaOptions } from "../../src/lambda.js";
import { memoryStore } from "../../stores/memory.js";
import { clientSees, eventOf, KINDS, sample, type Kind, type Sent } from "./gateway.js";

// For machines that are slow; what hangs is still found.
vi.setConfig({ testTimeout: 30_000 });

const paid = async () => ({ statusCode: 201, body: "paid" });

/** What is compared of an event. */
async function requestOf(event: HttpEvent): Promise<KeyedRequest> {
  const seen: KeyedRequest[] = [];
  const fingerprint: LambdaOptions["fingerprint"] = (request) => {
    seen.push(request);
    return "same";
  };
  await idempotentHandler(paid, memoryStore(), { fingerprint })(event, {});
  const [request] = seen;
  if (request === undefined) throw new Error("This event was not compared.");
  return request;
}

async function statusOf(kind: Kind, sent: Sent): Promise<number> {
  const handler = idempotentHandler(paid, memoryStore(), { required: true });
  return clientSees(kind, await handler(eventOf(kind, sent), {})).status;
}

describe("events", () => {
  const keyed = (event: HttpEvent): HttpEvent =>
    event.headers
      ? { ...event, headers: { ...event.headers, "IDEMPOTENCY-key": "k" } }
      : {
          ...event,
          multiValueHeaders: { ...event.multiValueHeaders, "IDEMPOTENCY-key": ["k"] },
        };

  test.each<[Kind, url: string, contentType: string | undefined, body: string]>([
    ["rest", "/", "application/json; charset=utf-8", '{"destination":"U0'],
    ["http-api", "/stg/generate-presigned-url", "application/json", '{"contentType":"video/mp4"'],
    ["function-url", "/sentiment", "application/json", '{"text":"Me encantó la tela'],
    [
      "alb",
      "/?branch=exp%2Flog",
      "multipart/form-data; boundary=--------------------------890630382963112405855458",
      "----------------------------890630382963112405855458\r\nContent-Disposition",
    ],
    ["alb-multi", "/?key=hello", undefined, ""],
  ])("%s is read as it was recorded", async (kind, url, contentType, begin) => {
    // A GET is not compared.
    const event = { ...sample(kind), ...(kind === "alb-multi" && { httpMethod: "POST" }) };
    const request = await requestOf(keyed(event));

    expect(request).toMatchObject({ key: "k", method: "POST", url, contentType });
    const body = Buffer.from(request.body);
    expect(body.toString()).satisfy((text: string) => text.startsWith(begin));
    expect(event.headers?.["content-length"] ?? `${body.length}`).toBe(`${body.length}`);
  });

  test.each<[Kind, url: string]>([
    ["rest", "/my/path?parameter1=value1&parameter1=value2&parameter2=value"],
    ["http-api", "/my/path?parameter1=value1&parameter1=value2&parameter2=value"],
    ["function-url", "/my/path?parameter1=value1&parameter1=value2&parameter2=value"],
    ["alb", "/lambda?query=1234ABCD"],
    ["alb-multi", "/?myKey=val1&myKey=val2"],
  ])("%s is read as AWS prints it", async (kind, url) => {
    const event = sample(kind, "printed/");
    const body = Buffer.from(String(event["body"]));
    const read = { key: "k", method: "POST", contentType: undefined, body };
    expect(await requestOf(keyed(event))).toEqual({ ...read, url });
  });

  const bare = { httpMethod: "POST", path: "/", requestContext: {} };

  test.each<[string, unknown]>([
    ["SQS", { Records: [{ messageId: "1", body: "{}" }] }],
    ["EventBridge", { version: "0", id: "1", "detail-type": "paid", detail: {} }],
    ["a WebSocket", { requestContext: { connectionId: "1", routeKey: "$connect" }, body: "" }],
    ["a request without a context", { httpMethod: "POST", path: "/", headers: {} }],
    ["a request whose key is a number", { ...bare, headers: { "Idempotency-Key": 5 } }],
    ["one with a list of them", { ...bare, multiValueHeaders: { "Idempotency-Key": [5] } }],
    ["one with a line for a list", { ...bare, multiValueHeaders: { "Idempotency-Key": "k" } }],
    ["one whose query is a number", { ...bare, queryStringParameters: { a: 5 } }],
    ["one whose queries are no lists", { ...bare, multiValueQueryStringParameters: { a: "b" } }],
    ["one whose fields are text", { ...bare, headers: "Idempotency-Key: k" }],
    ["nothing", undefined],
    ["null", null],
    ["text", "ping"],
  ])("%s is refused by name of what is for it", async (_, event) => {
    const handler = idempotentHandler(paid, memoryStore());
    await expect(handler(event as HttpEvent, {})).rejects.toMatchObject({
      code: "EVENT_UNKNOWN",
      message: expect.stringContaining("idempotentFunction"),
    });
  });

  test.each([null, undefined])("fields and values that are %s are none", async (none) => {
    const headers = { "Idempotency-Key": "k", "Content-Type": none };
    const fields = { multiValueHeaders: none, multiValueQueryStringParameters: { a: none } };
    const query = { queryStringParameters: none };
    const event = { ...bare, headers, ...fields, ...query } as unknown as HttpEvent;
    expect(await requestOf(event)).toMatchObject({ key: "k", url: "/", contentType: undefined });
  });
});

describe("the key", () => {
  const lines = (...keys: string[]) => keys.map((key) => ["Idempotency-Key", key] as const);
  // Without multi-value headers a balancer hands on the last line only.
  const faithful = KINDS.filter((kind) => kind !== "alb");

  test.each(faithful)(
    "C40 sent twice in %s gets 400, alike or not, bare or quoted",
    async (kind) => {
      for (const twice of [
        ["a", "b"],
        ["a", "a"],
        ['"a"', '"b"'],
        ['"a"', "b"],
      ]) {
        expect(await statusOf(kind, { headers: lines(...twice) })).toBe(400);
      }
    },
  );

  test.each(KINDS)("with a comma in quotes is one key in %s", async (kind) => {
    const handler = idempotentHandler(
      async (_event: HttpEvent, { idempotency }: { idempotency?: { key: string } }) => ({
        statusCode: 200,
        body: idempotency?.key,
      }),
      memoryStore(),
    );
    const seen = clientSees(kind, await handler(eventOf(kind, { key: '"a, b"' }), {}));
    expect(seen.body.toString()).toBe("a, b");
  });

  test("joined by a comma, two halves of a quoted key are the key that they are together", async () => {
    // RFC 9651 section 4.2: lines are joined before they are parsed, so these are one string.
    expect(await statusOf("http-api", { headers: lines('"a', 'b"') })).toBe(201);
    expect(await statusOf("rest", { headers: lines('"a', 'b"') })).toBe(400);
  });

  test("in two spellings of the header's name is two keys", async () => {
    const event = eventOf("alb", { headers: [["idempotency-key", "a"]] });
    const doubled = { ...event, headers: { ...event.headers, "Idempotency-Key": "b" } };
    const handler = idempotentHandler(paid, memoryStore());
    expect(clientSees("alb", await handler(doubled, {})).status).toBe(400);
  });

  test("that the two maps of REST do not agree on is two keys", async () => {
    const event = eventOf("rest", { key: "a" });
    const handler = idempotentHandler(paid, memoryStore());
    const changed = { ...event, headers: { ...event.headers, "Idempotency-Key": "b" } };
    expect(clientSees("rest", await handler(changed, {})).status).toBe(400);
  });

  test("may be in another header, and be longer", async () => {
    const handler = idempotentHandler(paid, memoryStore(), {
      headerName: "X-Once",
      maxKeyLength: 300,
    });
    const event = eventOf("http-api", { headers: [["x-once", "k".repeat(300)]] });
    const seen = [await handler(event, {}), await handler(event, {})];
    expect(clientSees("http-api", seen[1]).fields).toHaveProperty("idempotency-replayed");
  });

  test("of two scopes is two keys; without a scope the request gets 400", async () => {
    let runs = 0;
    const handler = idempotentHandler(
      async () => {
        runs += 1;
        return { statusCode: 201, body: "" };
      },
      memoryStore(),
      { scope: ({ headers }) => headers?.["tenant"] },
    );
    const send = async (headers: Sent["headers"] = []) =>
      clientSees("http-api", await handler(eventOf("http-api", { key: "k", headers }), {}));

    expect(await send([["Tenant", "a"]])).toMatchObject({ status: 201 });
    expect(await send([["Tenant", "b"]])).toMatchObject({ status: 201 });
    expect(await send()).toMatchObject({ status: 400 });
    expect(runs).toBe(2);
  });
});

describe("one request in all forms of events", () => {
  const name = fc.string({ minLength: 1, maxLength: 6, unit: "grapheme" });
  const query = fc
    .array(fc.tuple(name, fc.string({ maxLength: 6, unit: "grapheme" })), { maxLength: 5 })
    .map((pairs) =>
      pairs.map((pair) => pair.map((text) => encodeURIComponent(text)).join("=")).join("&"),
    );
  const path = fc.webPath().map((text) => `/${text}`);
  const type = fc.constantFrom("application/json", "text/plain", "application/octet-stream");
  const body = fc.oneof(fc.string({ unit: "grapheme" }), fc.uint8Array());

  test("is the same request, whatever is in it", async () => {
    await fc.assert(
      fc.asyncProperty(query, path, type, body, async (...parts) => {
        const [sentQuery, sentPath, contentType, sentBody] = parts;
        const sent: Sent = {
          key: "k",
          query: sentQuery,
          path: sentPath,
          body: sentBody,
          headers: [["Content-Type", contentType]],
        };
        const requests = await Promise.all(KINDS.map((kind) => requestOf(eventOf(kind, sent))));
        const bytes = Buffer.from(sentBody as string);
        for (const request of requests) {
          const { url = "" } = requests[0] ?? {};
          expect(request).toEqual({ key: "k", method: "POST", url, contentType, body: bytes });
        }
      }),
    );
  });

  test("is another request where names or values of the query differ", async () => {
    await fc.assert(
      fc.asyncProperty(query, query, async (one, two) => {
        const [a, b] = await Promise.all(
          [one, two].map((sentQuery) =>
            requestOf(eventOf("http-api", { key: "k", query: sentQuery })),
          ),
        );
        const values = (text: string) => {
          const pairs = [...new URLSearchParams(text)];
          return pairs.toSorted(([x], [y]) => (x < y ? -1 : Number(x > y)));
        };
        const same = JSON.stringify(values(one)) === JSON.stringify(values(two));
        expect(a?.url === b?.url).toBe(same);
      }),
    );
  });

  test.each([
    ["a=%7e", "a=~", true],
    ["a=x+y", "a=x%20y", true],
    ["a", "a=", true],
    ["b=1&a=1", "a=1&b=1", true],
    ["a=1&a=2", "a=2&a=1", false],
    ["a=%2B", "a=+", false],
    ["a=%FF", "a=%FE", false],
    ["a=%26b", "a=&b=", false],
  ])("%s and %s are one query: %s", async (one, two, same) => {
    const urls = await Promise.all(
      [one, two].map(
        async (text) => (await requestOf(eventOf("http-api", { key: "k", query: text }))).url,
      ),
    );
    expect(urls[0] === urls[1]).toBe(same);
  });

  test("what JSON can spell and UTF-8 cannot is compared too", async () => {
    const event = eventOf("rest", { key: "k" });
    const urls = await Promise.all(
      ["\ud800", "\ud801"].map(async (text) => {
        const multiValueQueryStringParameters = { a: [text] };
        return (await requestOf({ ...event, multiValueQueryStringParameters } as HttpEvent)).url;
      }),
    );
    expect(urls[0]).not.toBe(urls[1]);
  });

  test("cookies and other headers do not count", async () => {
    const handler = idempotentHandler(paid, memoryStore());
    const send = async (event: HttpEvent) =>
      clientSees("http-api", await handler(event, {})).status;
    const event = eventOf("http-api", { key: "k" });
    expect(await send(event)).toBe(201);
    expect(await send({ ...event, cookies: ["other"] } as HttpEvent)).toBe(201);
    expect(await send({ ...event, headers: { ...event.headers, trace: "2" } })).toBe(201);
  });
});

describe("a body that something parsed before", () => {
  const parsed = (body: unknown, type = "application/json") => ({
    ...eventOf("http-api", { key: "k", headers: [["Content-Type", type]] }),
    body: body as string,
  });

  test("is JSON again, so the order of properties does not count", async () => {
    const handler = idempotentHandler(paid, memoryStore());
    const send = async (event: HttpEvent) =>
      clientSees("http-api", await handler(event, {})).status;
    expect(await send(parsed({ a: 1, b: 2 }))).toBe(201);
    expect(await send(parsed('{"b":2,"a":1}'))).toBe(201);
    expect(await send(parsed({ a: 1 }))).toBe(422);
  });

  test("counts byte by byte as bytes, and is empty where there is none", async () => {
    expect((await requestOf(parsed(Buffer.from("x"), "text/plain"))).body).toEqual(
      Buffer.from("x"),
    );
    expect((await requestOf(parsed(null))).body).toHaveLength(0);
  });

  test("gets 500 where only fields of a multipart body are left", async () => {
    const errors: unknown[] = [];
    const handler = idempotentHandler(paid, memoryStore(), {
      onError: (error) => errors.push(error),
    });
    const event = parsed({ field: 1 }, "multipart/form-data; boundary=x");
    expect(clientSees("http-api", await handler(event, {})).status).toBe(500);
    expect(errors).toMatchObject([{ code: "BODY_UNREADABLE" }]);
  });
});
