/** Which requests are the same: keys, scopes and fingerprints, as a client and a service see them. */
import type { IncomingMessage } from "node:http";
import { expect, test } from "vitest";
import {
  fingerprintedKey,
  IdempotencyError,
  idempotency,
  type HttpOptions,
  type Store,
} from "../../src/index.js";
import { memoryStore } from "../../stores/memory.js";
import { serve } from "../support/http.js";

/** Counts its runs and says which run answered. */
function counting(options: Partial<HttpOptions> = {}, store: Store = memoryStore()) {
  let runs = 0;
  const safe = idempotency(store, options);
  return safe.wrap((_, res) => {
    runs += 1;
    res.end(`run ${runs}`);
  });
}

/** A memory store that shows every string it was given. */
function watchedStore() {
  const seen: string[] = [];
  const store = memoryStore();
  const lock: Store["lock"] = async (key, fingerprint, leaseMs) => {
    seen.push(key, fingerprint);
    return await store.lock(key, fingerprint, leaseMs);
  };
  return { store: { ...store, lock }, seen };
}

const tenant = (req: IncomingMessage) => req.headers["x-tenant"] as string | undefined;

test("a request without a key passes through, and runs every time", async () => {
  await using server = await serve(counting());

  expect(await server.send()).toMatchObject({ text: "run 1" });
  expect(await server.send()).toMatchObject({ text: "run 2" });
});

test.each(["GET", "DELETE", "OPTIONS"])("%s passes untouched, key or not", async (method) => {
  const { store, seen } = watchedStore();
  await using server = await serve(counting({ required: true }, store));

  await server.send({ method, key: "k" });
  expect(await server.send({ method, key: "k" })).toMatchObject({ text: "run 2" });
  expect(seen).toEqual([]);
});

test.each(["POST", "PUT", "PATCH"])("%s is made safe by default", async (method) => {
  await using server = await serve(counting());

  await server.send({ method, key: "k" });
  expect(await server.send({ method, key: "k" })).toMatchObject({ text: "run 1" });
});

test("methods and the header's name are options", async () => {
  await using server = await serve(
    counting({ methods: ["DELETE"], headerName: "X-Request-Token", required: true }),
  );
  const headers = { "x-request-token": "t" };

  await server.send({ method: "DELETE", headers });
  expect(await server.send({ method: "DELETE", headers })).toMatchObject({ text: "run 1" });
  expect(await server.send({ method: "POST", headers })).toMatchObject({ text: "run 2" });
  const missing = await server.send({ method: "DELETE" });
  expect(JSON.parse(missing.text)).toMatchObject({ title: "X-Request-Token is missing" });
});

test.each([
  ["empty", ""],
  ["blank in quotes", '" "'],
  ["256 characters", "k".repeat(256)],
  ["a comma, as joined lines have", "a,b"],
  ["a space", "a b"],
  ["an unfinished quote", '"abc'],
  ["something after the quote", '"abc" d'],
  ["a non-ASCII character", "cl\u00e9"],
])("C40, D15: a key with %s gets 400, and no store is asked", async (_, key) => {
  const { store, seen } = watchedStore();
  await using server = await serve(counting({}, store));

  const answer = await server.send({ key });

  expect(answer.status).toBe(400);
  expect(JSON.parse(answer.text)).toMatchObject({
    title: "Idempotency-Key is invalid",
    code: "KEY_INVALID",
  });
  expect(answer.text).not.toContain("k".repeat(256));
  expect(seen).toEqual([]);
});

test("C40: two header lines get 400, not one joined key", async () => {
  await using server = await serve(counting());

  const answer = await server.send({ headers: { "Idempotency-Key": ["a", "b"] } });

  expect(answer.status).toBe(400);
});

test("C40, D1: the quoted and the bare form are one key", async () => {
  await using server = await serve(counting());

  await server.send({ key: '"8e03978e-40d5"' });
  expect(await server.send({ key: "8e03978e-40d5" })).toMatchObject({ text: "run 1" });
  expect(await server.send({ key: '"8e03978e-40d5";v=1' })).toMatchObject({ text: "run 1" });
});

test.each([
  ["path", { path: "/b" }],
  ["query string", { path: "/a?x=1" }],
  ["method", { method: "PUT" }],
  ["body", { body: "other" }],
])("C7: the same key with another %s never gets the other's answer, but 422", async (_, other) => {
  await using server = await serve(counting());

  await server.send({ key: "k", path: "/a", body: "one" });
  const answer = await server.send({ key: "k", path: "/a", body: "one", ...other });

  expect(answer.status).toBe(422);
});

test("C7: with fingerprintedKey, another endpoint or payload is another request, as in the Go package", async () => {
  await using server = await serve(counting({ keyFunc: fingerprintedKey }));

  expect(await server.send({ key: "k", path: "/a" })).toMatchObject({ text: "run 1" });
  expect(await server.send({ key: "k", path: "/b" })).toMatchObject({ text: "run 2" });
  expect(await server.send({ key: "k", path: "/a", body: "x" })).toMatchObject({ text: "run 3" });
  expect(await server.send({ key: "k", path: "/a" })).toMatchObject({ text: "run 1" });
});

test("C35: JSON is compared by content: order and white space do not matter, types and lists do", async () => {
  await using server = await serve(counting());
  const send = (body: string) =>
    server.send({ key: "k", body, headers: { "Content-Type": "application/json" } });

  await send('{"amount": 1, "items": [1, 2]}');
  expect(await send('{"items":[1,2],"amount":1.0}')).toMatchObject({ text: "run 1" });
  expect(await send('{"amount":"1","items":[1,2]}')).toMatchObject({ status: 422 });
  expect(await send('{"amount":1,"items":[2,1]}')).toMatchObject({ status: 422 });
});

test("C38: a multipart body matches its retry under another boundary", async () => {
  await using server = await serve(counting());
  const send = (boundary: string, file: string) =>
    server.send({
      key: "k",
      headers: { "Content-Type": `multipart/form-data; boundary=${boundary}` },
      body: `--${boundary}\r\nContent-Disposition: form-data; name="f"\r\n\r\n${file}\r\n--${boundary}--\r\n`,
    });

  await send("abc", "content");
  expect(await send("xyz", "content")).toMatchObject({ text: "run 1" });
  expect(await send("xyz", "changed")).toMatchObject({ status: 422 });
});

test("a fingerprint of one's own decides what is the same request", async () => {
  const { store, seen } = watchedStore();
  await using server = await serve(
    counting({ fingerprint: ({ body }) => `${body.length}` }, store),
  );

  await server.send({ key: "k", body: "abc" });
  expect(await server.send({ key: "k", body: "xyz" })).toMatchObject({ text: "run 1" });
  expect(await server.send({ key: "k", body: "longer" })).toMatchObject({ status: 422 });
  expect(seen).not.toContain("3");
});

test("C41: the same key of two tenants is two keys", async () => {
  await using server = await serve(counting({ scope: tenant }));
  const send = (name: string) => server.send({ key: "k", headers: { "X-Tenant": name } });

  expect(await send("a")).toMatchObject({ text: "run 1" });
  expect(await send("b")).toMatchObject({ text: "run 2" });
  expect(await send("a")).toMatchObject({ text: "run 1" });
});

test("C8: no delimiter can be smuggled from a scope into a key", async () => {
  await using server = await serve(counting({ scope: tenant }));

  expect(await server.send({ key: "c", headers: { "X-Tenant": "a:b" } })).toMatchObject({
    text: "run 1",
  });
  expect(await server.send({ key: "b:c", headers: { "X-Tenant": "a" } })).toMatchObject({
    text: "run 2",
  });
});

test("C41: where a scope is asked for, a request without one is refused, and no store is asked", async () => {
  const { store, seen } = watchedStore();
  await using server = await serve(counting({ scope: tenant }, store));

  const answer = await server.send({ key: "k" });

  expect(answer.status).toBe(400);
  expect(JSON.parse(answer.text)).toMatchObject({ code: "SCOPE_MISSING" });
  expect(seen).toEqual([]);
});

test("C39: a keyFunc or fingerprint that finds nothing is an error, not one key for all", async () => {
  const nothing = () => undefined as unknown as string;
  await using byKey = await serve(counting({ keyFunc: nothing }));
  await using byFingerprint = await serve(counting({ fingerprint: () => "" }));

  expect(await byKey.send({ key: "k" })).toMatchObject({ status: 400 });
  expect(await byFingerprint.send({ key: "k" })).toMatchObject({ status: 400 });
});

test("an option function that throws makes it 500, or the kit's error that it threw", async () => {
  const errors: unknown[] = [];
  const onError = (error: unknown) => errors.push(error);
  const failing = (error: Error) => () => {
    throw error;
  };
  await using plain = await serve(counting({ scope: failing(new Error("no database")), onError }));
  await using typed = await serve(
    counting({ scope: failing(new IdempotencyError("SCOPE_MISSING", "Log in first.")) }),
  );

  expect(await plain.send({ key: "k" })).toMatchObject({ status: 500 });
  expect(errors).toEqual([expect.objectContaining({ message: "no database" })]);
  const answer = await typed.send({ key: "k" });
  expect(answer.status).toBe(400);
  expect(JSON.parse(answer.text)).toMatchObject({ detail: "Log in first." });
});

test("P9: neither keys, scopes, bodies nor credentials reach a store or a record", async () => {
  const { store, seen } = watchedStore();
  const records: unknown[] = [];
  const set: Store["set"] = async (...args) => {
    records.push(args);
    return await store.set(...args);
  };
  await using server = await serve(counting({ scope: tenant }, { ...store, set }));

  await server.send({
    key: "raw-key",
    body: "raw-body",
    headers: { "X-Tenant": "raw-tenant", Authorization: "Bearer secret", Cookie: "sid=secret" },
  });

  const all = JSON.stringify([seen, records]);
  const bytes = JSON.stringify([...Buffer.from("raw-body")]).slice(1, -1);
  for (const raw of ["raw-key", "raw-tenant", "raw-body", bytes, "secret"]) {
    expect(all).not.toContain(raw);
  }
  for (const hashed of seen) expect(hashed).toMatch(/^[\w-]{43}$/);
});

test("C24: a body that the handler changes completes the key it came under", async () => {
  let runs = 0;
  const safe = idempotency(memoryStore());
  await using server = await serve(
    safe.wrap(async (req, res) => {
      runs += 1;
      for await (const chunk of req) (chunk as Buffer).fill(0);
      res.end(`run ${runs}`);
    }),
  );

  await server.send({ key: "k", body: "payload" });
  expect(await server.send({ key: "k", body: "payload" })).toMatchObject({ text: "run 1" });
});

test("C42: two middlewares on one store keep their own options", async () => {
  const store = memoryStore();
  await using strict = await serve(counting({ required: true, headerName: "X-A" }, store));
  await using loose = await serve(counting({ headerName: "X-B" }, store));

  expect(await strict.send()).toMatchObject({ status: 400 });
  expect(await loose.send()).toMatchObject({ text: "run 1" });
  await strict.send({ headers: { "X-A": "k" } });
  expect(await loose.send({ headers: { "X-B": "k" } })).toMatchObject({
    headers: { "idempotency-replayed": "true" },
  });
});

test("a keyFunc makes one key of two routes two, as docs/migrating.md has it", async () => {
  await using server = await serve(
    counting({ keyFunc: ({ key, method, url }) => `${method} ${url} ${key}` }),
  );

  expect(await server.send({ key: "k", path: "/a" })).toMatchObject({ text: "run 1" });
  expect(await server.send({ key: "k", path: "/b" })).toMatchObject({ text: "run 2" });
  expect(await server.send({ key: "k", path: "/a" })).toMatchObject({ text: "run 1" });
});

test("headers do not make another request, but for the type by which its body is read", async () => {
  await using server = await serve(counting());
  const send = (headers: Record<string, string>) =>
    server.send({ key: "k", body: '{"a":1}', headers });
  const json = { "Content-Type": "application/json" };

  await send({ ...json, Authorization: "Bearer one", "X-Attempt": "1" });
  expect(await send({ ...json, Authorization: "Bearer two", Accept: "*/*" })).toMatchObject({
    text: "run 1",
  });
  expect(await send({ "Content-Type": "text/plain" })).toMatchObject({ status: 422 });
});
