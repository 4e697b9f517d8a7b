/** Under Express 5 and 4: what its response methods, routers, error handlers and other middleware make of it. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync, gzipSync } from "node:zlib";
import express, { type ErrorRequestHandler, type RequestHandler } from "express";
import express4 from "express4";
import { afterAll, describe, expect, test } from "vitest";
import { idempotency, type HttpOptions } from "../../src/index.js";
import { memoryStore } from "../../stores/memory.js";
import { serve, type Sent } from "../support/http.js";
import { essence, replayEssence } from "../support/side-by-side.js";

const folder = mkdtempSync(join(tmpdir(), "idempotency-express-"));
const file = join(folder, "receipt.txt");
writeFileSync(file, "receipt ".repeat(10_000));
afterAll(() => rmSync(folder, { recursive: true }));

const JSON_BODY: Sent = {
  body: '{"amount":1999}',
  headers: { "Content-Type": "application/json" },
};

/** Each run answers with its number where the handler puts it in. */
type NumberedHandler = (run: number) => RequestHandler;

/** An application with one route, protected or not. */
function app(handler: NumberedHandler, options?: Partial<HttpOptions>, make = express) {
  let runs = 0;
  const application = make();
  application.use(make.json());
  const route: RequestHandler = (req, res, next) => {
    runs += 1;
    return handler(runs)(req, res, next);
  };
  if (options === undefined) application.post("/payments", route);
  else application.post("/payments", idempotency(memoryStore(), options), route);
  return { listener: application, runs: () => runs };
}

const responses: [name: string, handler: RequestHandler][] = [
  ["json", (_, res) => void res.status(201).json({ id: 1, text: "größe" })],
  ["send of a string", (_, res) => void res.send("<p>paid</p>")],
  ["send of bytes", (_, res) => void res.send(Buffer.from([0, 0xff, 0xfe, 0x80, 0x41]))],
  ["sendStatus", (_, res) => void res.sendStatus(202)],
  ["end", (_, res) => void res.status(204).end()],
  ["redirect", (_, res) => res.redirect(303, "/payments/1")],
  ["location and vary", (_, res) => void res.location("/payments/1").vary("Accept").send("x")],
  ["sendFile", (_, res) => res.sendFile(file)],
  ["download", (_, res) => res.download(file, "receipt.txt")],
  ["format", (_, res) => void res.format({ json: () => res.json([1]), text: () => res.send("1") })],
  ["jsonp and an ETag of its own", (_, res) => void res.set("ETag", '"v1"').jsonp({ a: 1 })],
  ["write and end", (_, res) => void (res.write("a"), res.end("b"))],
];

for (const { version, make } of [
  { version: 5, make: express },
  { version: 4, make: express4 },
]) {
  describe(`Express ${version}`, () => {
    test.each(responses)("%s arrives as without the middleware, and again", async (_, handler) => {
      const bare = app(() => handler, undefined, make);
      const safe = app(() => handler, {}, make);
      await using alone = await serve(bare.listener);
      await using server = await serve(safe.listener);
      const sent = { ...JSON_BODY, path: "/payments", key: "k" };

      const alike = await alone.send(sent);
      const first = await server.send(sent);
      const replay = await server.send(sent);

      expect(essence(first)).toEqual(essence(alike));
      expect(replayEssence(replay)).toEqual(replayEssence(alike));
      expect(replay.headers["idempotency-replayed"]).toBe("true");
      expect(safe.runs()).toBe(1);
    });

    test("cookies reach the first client only, unless they are asked for", async () => {
      const handler: RequestHandler = (_, res) => void res.cookie("a", "1").cookie("b", "2").end();
      await using withheld = await serve(app(() => handler, {}, make).listener);
      await using kept = await serve(
        app(() => handler, { storeHeaders: ["Set-Cookie"] }, make).listener,
      );
      const sent = { path: "/payments", key: "k" };
      const cookies = ["a=1; Path=/", "b=2; Path=/"];

      expect((await withheld.send(sent)).headers["set-cookie"]).toEqual(cookies);
      expect((await withheld.send(sent)).headers["set-cookie"]).toBeUndefined();
      await kept.send(sent);
      expect((await kept.send(sent)).headers["set-cookie"]).toEqual(cookies);
    });

    const failures: [name: string, handler: RequestHandler][] = [
      [
        "throws",
        () => {
          throw new Error("no funds");
        },
      ],
      ["passes an error on", (_, __, next) => next(new Error("no funds"))],
    ];
    test.each(failures)(
      "C21: a handler that %s gets the error handler's answer, and the key is free",
      async (_, failing) => {
        const numbered: NumberedHandler = (run) =>
          run === 1 ? failing : (_req, res) => void res.send("paid");
        const { listener, runs } = app(numbered, {}, make);
        const answered: ErrorRequestHandler = (error: Error, _req, res, _next) => {
          res.status(500).json({ message: error.message });
        };
        (listener as unknown as express.Express).use(answered);
        await using server = await serve(listener);
        const sent = { path: "/payments", key: "k" };

        expect(await server.send(sent)).toMatchObject({
          status: 500,
          text: '{"message":"no funds"}',
        });
        expect(await server.send(sent)).toMatchObject({ status: 200, text: "paid" });
        expect(runs()).toBe(2);
      },
    );

    test.each(failures)(
      "C21: a handler that %s gets Express's own 500 where there is no error handler, and the key is free",
      async (_, failing) => {
        const numbered: NumberedHandler = (run) =>
          run === 1 ? failing : (_req, res) => void res.send("paid");
        const { listener, runs } = app(numbered, {}, make);
        await using server = await serve(listener);
        const sent = { path: "/payments", key: "k" };

        expect(await server.send(sent)).toMatchObject({ status: 500 });
        expect(await server.send(sent)).toMatchObject({ status: 200, text: "paid" });
        expect(runs()).toBe(2);
      },
    );

    test("the ETag that Express makes is replayed; a 304 is a result like any other", async () => {
      const handler: RequestHandler = (_, res) => void res.send("the same each time");
      const application = make();
      application.use(idempotency(memoryStore(), { methods: ["GET", "PUT"] }), handler);
      await using server = await serve(application);

      const put = await server.send({ method: "PUT", key: "put" });
      const fresh = { "If-None-Match": put.headers.etag ?? "" };
      const put304 = await server.send({ method: "PUT", key: "put", headers: fresh });
      expect(put.headers.etag).toMatch(/^W\/"/);
      expect(put304).toMatchObject({ status: 200, headers: { etag: put.headers.etag } });

      const got = { method: "GET", key: "get", headers: fresh };
      expect(await server.send(got)).toMatchObject({ status: 304, text: "" });
      expect(await server.send(got)).toMatchObject({
        status: 304,
        text: "",
        headers: { "idempotency-replayed": "true", etag: put.headers.etag },
      });
    });

    test("what stands before it and refuses is not stored: the next attempt with the key runs", async () => {
      let isKnown = false;
      const application = make();
      application.use((_req, res, next) => (isKnown ? next() : void res.sendStatus(401)));
      application.post(
        "/payments",
        idempotency(memoryStore()),
        (_req, res) => void res.send("paid"),
      );
      await using server = await serve(application);
      const sent: Sent = { key: "k", path: "/payments" };

      expect(await server.send(sent)).toMatchObject({ status: 401 });
      isKnown = true;
      const paid = await server.send(sent);
      expect(paid).toMatchObject({ status: 200, text: "paid" });
      expect(paid.headers).not.toHaveProperty("idempotency-replayed");
    });

    test("the body that express.json parsed before is the one that counts", async () => {
      const { listener, runs } = app(() => (req, res) => void res.json(req.body), {}, make);
      await using server = await serve(listener);
      const sent = { ...JSON_BODY, path: "/payments", key: "k" };

      expect(await server.send(sent)).toMatchObject({ text: '{"amount":1999}' });
      expect(await server.send({ ...sent, body: '{ "amount": 1999 }' })).toMatchObject({
        status: 200,
      });
      expect(await server.send({ ...sent, body: '{"amount":2000}' })).toMatchObject({
        status: 422,
      });
      expect(runs()).toBe(1);
    });
  });
}

test("C21: Express 5 passes the rejection of an async handler on; the key is free", async () => {
  const numbered: NumberedHandler = (run) => async (_, res) => {
    await Promise.resolve();
    if (run === 1) throw new Error("no funds");
    res.send("paid");
  };
  const { listener } = app(numbered, {});
  const answered: ErrorRequestHandler = (_error, _req, res, _next) => void res.sendStatus(502);
  (listener as unknown as express.Express).use(answered);
  await using server = await serve(listener);
  const sent = { path: "/payments", key: "k" };

  expect(await server.send(sent)).toMatchObject({ status: 502 });
  expect(await server.send(sent)).toMatchObject({ status: 200, text: "paid" });
});

test("errors of the middleware's own options go to Express's error handler", async () => {
  const scope = () => {
    throw new Error("no session");
  };
  const { listener, runs } = app(() => (_, res) => void res.end(), { scope });
  const answered: ErrorRequestHandler = (error: Error, _req, res, _next) => {
    res.status(500).send(error.message);
  };
  (listener as unknown as express.Express).use(answered);
  await using server = await serve(listener);

  expect(await server.send({ path: "/payments", key: "k" })).toMatchObject({
    status: 500,
    text: "no session",
  });
  expect(runs()).toBe(0);
});

test("C7, C8: one key under two mounted routers and two route parameters never gets the other's answer", async () => {
  const application = express();
  const safe = idempotency(memoryStore());
  const router = express.Router();
  router.post("/:id", safe, (req, res) => void res.send(`${req.baseUrl}/${req.params["id"]}`));
  application.use("/a", router);
  application.use("/b", router);
  await using server = await serve(application);

  expect(await server.send({ path: "/a/1", key: "k" })).toMatchObject({ text: "/a/1" });
  expect(await server.send({ path: "/b/1", key: "k" })).toMatchObject({ status: 422 });
  expect(await server.send({ path: "/a/2", key: "k" })).toMatchObject({ status: 422 });
  expect(await server.send({ path: "/a/1", key: "k" })).toMatchObject({ text: "/a/1" });
});

test("a route that does not exist is answered by Express's 404, which is a result like any other", async () => {
  const application = express();
  application.use(idempotency(memoryStore()));
  await using server = await serve(application);

  const first = await server.send({ path: "/none", key: "k" });
  const replay = await server.send({ path: "/none", key: "k" });

  expect(first.status).toBe(404);
  expect(replay).toMatchObject({ status: 404, text: first.text });
  expect(replay.headers["idempotency-replayed"]).toBe("true");
});

/** What the compression middleware does, in short: it wraps `write` and `end` where the client takes gzip. */
const compression: RequestHandler = (req, res, next) => {
  if (req.headers["accept-encoding"] !== "gzip") return next();
  const end = res.end.bind(res) as (chunk: Buffer) => typeof res;
  const chunks: Buffer[] = [];
  res.write = ((chunk: string | Buffer) => {
    chunks.push(Buffer.from(chunk as string));
    return true;
  }) as typeof res.write;
  res.end = ((chunk?: string | Buffer) => {
    if (chunk !== undefined) chunks.push(Buffer.from(chunk as string));
    const body = gzipSync(Buffer.concat(chunks));
    res.removeHeader("Content-Length");
    res.setHeader("Content-Encoding", "gzip").setHeader("Vary", "Accept-Encoding");
    return end(body);
  }) as typeof res.end;
  return next();
};

const GZIP = { "Accept-Encoding": "gzip" };

test("C32: with compression mounted before it, each client gets the encoding that it accepts", async () => {
  const application = express();
  application.post("/", compression, idempotency(memoryStore()), (_, res) => void res.send("paid"));
  await using server = await serve(application);

  const zipped = await server.send({ key: "k", headers: GZIP });
  const plain = await server.send({ key: "k" });
  const zippedReplay = await server.send({ key: "k", headers: GZIP });

  expect(gunzipSync(zipped.body).toString()).toBe("paid");
  expect(plain).toMatchObject({ status: 200, text: "paid" });
  expect(plain.headers["content-encoding"]).toBeUndefined();
  expect(gunzipSync(zippedReplay.body).toString()).toBe("paid");
  expect(zippedReplay.headers).toMatchObject({ "content-encoding": "gzip" });
});

test("C32: with compression mounted after it, the encoded bytes are the response, and are replayed as they are", async () => {
  const application = express();
  application.post("/", idempotency(memoryStore()), compression, (_, res) => void res.send("paid"));
  await using server = await serve(application);

  const first = await server.send({ key: "k", headers: GZIP });
  const replay = await server.send({ key: "k" });

  expect(gunzipSync(first.body).toString()).toBe("paid");
  expect(replay.body).toEqual(first.body);
  expect(replay.headers).toMatchObject({ "content-encoding": "gzip", vary: "Accept-Encoding" });
});

/** What `on-headers` does: a listener for the moment at which the head goes out. */
function onHead(listener: () => void): RequestHandler {
  return (_, res, next) => {
    const writeHead = res.writeHead.bind(res);
    let fired = false;
    res.writeHead = ((...args: Parameters<typeof res.writeHead>) => {
      if (!fired) listener();
      fired = true;
      return writeHead(...args);
    }) as typeof res.writeHead;
    next();
  };
}

test("whoever waits for the head is told once for each head: outside for replays too, inside for runs", async () => {
  const heads: string[] = [];
  const application = express();
  application.post(
    "/",
    onHead(() => heads.push("outside")),
    idempotency(memoryStore()),
    onHead(() => heads.push("inside")),
    (_, res) => void res.send("paid"),
  );
  await using server = await serve(application);

  await server.send({ key: "k" });
  expect(heads).toEqual(["inside", "outside"]);
  await server.send({ key: "k" });
  expect(heads).toEqual(["inside", "outside", "outside"]);
});
