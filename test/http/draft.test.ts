/**
 * draft-ietf-httpapi-idempotency-key-header-07, requirement by requirement. What has no test here is not the kit's to
 * do: D2 and D5 ask clients and resource owners (unique keys, published rules), D6 asks for documentation (README).
 */
import { createServer } from "node:http";
import { expect, test } from "vitest";
import { idempotency, type HttpOptions } from "../../src/index.js";
import { memoryStore } from "../../stores/memory.js";
import { deferred } from "../support/deferred.js";
import { serve } from "../support/http.js";

const DOCS = "https://developer.example.com/idempotency";

function payments(options: Partial<HttpOptions> = {}) {
  return idempotency(memoryStore(), options).wrap((_, res) => res.writeHead(201).end("paid"));
}

test("D1, section 2.1: the key is a structured string; the bare form that clients send is the same key", async () => {
  await using server = await serve(payments());

  await server.send({ key: '"8e03978e-40d5-43e8-bc93-6894a57f9324"' });
  const retry = await server.send({ key: "8e03978e-40d5-43e8-bc93-6894a57f9324" });

  expect(retry.headers["idempotency-replayed"]).toBe("true");
});

test("D2, section 2.2: a key with another payload is refused", async () => {
  await using server = await serve(payments());

  await server.send({ key: "k", body: "one" });
  expect(await server.send({ key: "k", body: "other" })).toMatchObject({ status: 422 });
});

test("D7, D8, section 2.6: a first request is processed, its retry gets the stored result", async () => {
  await using server = await serve(payments());

  expect(await server.send({ key: "k" })).toMatchObject({ status: 201, text: "paid" });
  expect(await server.send({ key: "k" })).toMatchObject({ status: 201, text: "paid" });
});

test("D9, D12, sections 2.6 and 2.7: a retry while the first request runs gets 409", async () => {
  const started = deferred();
  const gate = deferred();
  const safe = idempotency(memoryStore(), { docsUrl: DOCS });
  await using server = await serve(
    safe.wrap(async (_, res) => {
      started.resolve();
      await gate.promise;
      res.end();
    }),
  );
  const first = server.send({ key: "k" });
  await started.promise;

  const retry = await server.send({ key: "k" });
  gate.resolve();
  await first;

  expect(retry.status).toBe(409);
  expect(JSON.parse(retry.text)).toEqual({
    type: `${DOCS}#request-in-progress`,
    title: "A request is outstanding for this Idempotency-Key",
    status: 409,
    detail: "A request with this key is in progress.",
    code: "REQUEST_IN_PROGRESS",
  });
});

test("D10, section 2.7: a missing key, where one is required, gets 400 with a link to documentation", async () => {
  await using server = await serve(payments({ required: true, docsUrl: DOCS }));

  const answer = await server.send();

  expect(answer.status).toBe(400);
  expect(answer.headers).toMatchObject({
    "content-type": "application/problem+json",
    "content-language": "en",
    link: `<${DOCS}>; rel="describedby"`,
  });
  expect(JSON.parse(answer.text)).toMatchObject({
    type: `${DOCS}#key-missing`,
    title: "Idempotency-Key is missing",
    detail: expect.stringContaining(
      "This operation is idempotent and it requires correct usage of Idempotency-Key",
    ),
  });
});

test("D11, section 2.7: a reused key gets 422 with the draft's title", async () => {
  await using server = await serve(payments());
  await server.send({ key: "k", body: "one" });

  const answer = await server.send({ key: "k", body: "two" });

  expect(answer.status).toBe(422);
  expect(JSON.parse(answer.text)).toMatchObject({ title: "Idempotency-Key is already used" });
});

test("D13, section 2.7: a request that was not fixed fails again in the same way", async () => {
  await using server = await serve(payments({ required: true }));
  await server.send({ key: "k", body: "one" });

  for (let i = 0; i < 2; i += 1) {
    expect(await server.send()).toMatchObject({ status: 400 });
    expect(await server.send({ key: "k", body: "two" })).toMatchObject({ status: 422 });
  }
});

test("D14: safe methods and DELETE pass, being idempotent by themselves (RFC 9110 section 9.2.2)", async () => {
  await using server = await serve(payments({ required: true }));

  for (const method of ["GET", "HEAD", "OPTIONS", "DELETE"]) {
    expect(await server.send({ method })).toMatchObject({ status: 201 });
  }
});

test("D16: problem documents are RFC 9457's, and their status is the actual one", async () => {
  await using server = await serve(payments({ required: true }));

  const answer = await server.send();

  expect(answer.headers["content-type"]).toBe("application/problem+json");
  expect(JSON.parse(answer.text)).toMatchObject({
    status: answer.status,
    type: "urn:problem-type:idempotency-kit:key-missing",
  });
  expect(answer.headers.link).toMatch(/^<https:\/\/\S+>; rel="describedby"$/);
});

test("D17, C34: replays and problems are not for caches; a replay has a new Date and no Age", async () => {
  const safe = idempotency(memoryStore());
  await using server = await serve(
    safe.wrap((_, res) =>
      res
        .writeHead(200, {
          "Cache-Control": "max-age=60",
          Date: "Thu, 01 Jan 1970 00:00:00 GMT",
          Age: "7",
        })
        .end("cached"),
    ),
  );

  const first = await server.send({ key: "k" });
  const replay = await server.send({ key: "k" });
  const refused = await server.send({ key: "k", body: "other" });

  expect(first.headers["cache-control"]).toBe("max-age=60");
  expect(replay.headers).toMatchObject({ "cache-control": "no-store" });
  expect(replay.headers.age).toBeUndefined();
  expect(new Date(replay.headers.date ?? 0).getFullYear()).toBeGreaterThan(2000);
  expect(refused.headers["cache-control"]).toBe("no-store");
});

test("D18: fields of one connection are not replayed; Location, ETag, Link, Vary and Content-* are", async () => {
  const kept = {
    location: "/payments/1",
    "content-location": "/payments/1",
    etag: '"v1"',
    link: "</a>; rel=next",
    vary: "Accept",
    "content-type": "text/plain",
    "content-language": "en",
    "content-encoding": "identity",
  };
  const dropped = {
    connection: "x-mine",
    "x-mine": "1",
    "keep-alive": "timeout=9",
    "proxy-authenticate": "Basic",
    "proxy-connection": "close",
    te: "trailers",
    upgrade: "h2c",
    "www-authenticate": "Basic",
    "set-cookie": ["a=1", "b=2"],
  };
  const safe = idempotency(memoryStore());
  await using server = await serve(
    safe.wrap((_, res) => res.writeHead(201, { ...kept, ...dropped }).end("x")),
  );

  const first = await server.send({ key: "k" });
  const replay = await server.send({ key: "k" });

  expect(first.headers).toMatchObject({ ...kept, "set-cookie": ["a=1", "b=2"], "x-mine": "1" });
  expect(replay.headers).toMatchObject({ ...kept, "content-length": "1" });
  for (const name of Object.keys(dropped)) {
    if (name === "connection" || name === "keep-alive") continue;
    expect(replay.headers[name]).toBeUndefined();
  }
  expect(replay.headers.connection).not.toContain("x-mine");
});

test("D19: each status is configurable", async () => {
  await using server = await serve(
    payments({ required: true, statusCodes: { KEY_REUSED: 409, KEY_MISSING: 428 } }),
  );
  await server.send({ key: "k", body: "one" });

  expect(await server.send({ key: "k", body: "two" })).toMatchObject({ status: 409 });
  const missing = await server.send();
  expect(missing.status).toBe(428);
  expect(JSON.parse(missing.text)).toMatchObject({ status: 428 });
});

test("D20: a browser that attaches a quoted UUID by itself is served like any client", async () => {
  await using server = await serve(payments());
  const key = `"${crypto.randomUUID()}"`;

  await server.send({ key });
  expect(await server.send({ key })).toMatchObject({ status: 201 });
});

test("the middleware works under any server that calls (req, res, next)", async () => {
  const safe = idempotency(memoryStore());
  const server = createServer((req, res) => {
    void safe(req, res, () => res.end("plain"));
  });
  await using running = await serve((req, res) => server.emit("request", req, res));

  await running.send({ key: "k" });
  expect(await running.send({ key: "k" })).toMatchObject({ text: "plain" });
});
