/** The request's body: read by the middleware, and still there for whoever reads it next, however they do it. */
import { once } from "node:events";
import { request, type IncomingMessage } from "node:http";
import { PassThrough, Readable, Writable } from "node:stream";
import { text } from "node:stream/consumers";
import { pipeline } from "node:stream/promises";
import { setImmediate as turn } from "node:timers/promises";
import express, { type RequestHandler } from "express";
import { describe, expect, test } from "vitest";
import { idempotency, type HttpOptions, type Store } from "../../src/index.js";
import { memoryStore } from "../../stores/memory.js";
import { fakeClock } from "../support/clock.js";
import { deferred } from "../support/deferred.js";
import { dial, readBytes, serve, type Sent } from "../support/http.js";

const KIB = 1024;
const LIMIT = 1024 * KIB;

type Read = (req: IncomingMessage) => Promise<Buffer>;

const readers: [name: string, read: Read][] = [
  ["data events", dataEvents],
  ["for await", readBytes],
  ["readable events", readableEvents],
  ["pipe", (req) => readBytes(req.pipe(new PassThrough()))],
  ["pipeline", throughPipeline],
  ["stream consumers", async (req) => Buffer.from(await text(req.setEncoding("latin1")), "latin1")],
  [
    "async iterators with encoding",
    async (req) => Buffer.from((await req.setEncoding("hex").toArray()).join(""), "hex"),
  ],
  ["a web stream", async (req) => readBytes(Readable.toWeb(req) as AsyncIterable<Uint8Array>)],
  ["a late reader", late(readBytes)],
  ["late data events", late(dataEvents)],
  ["a reader that pauses", pausing],
];

async function dataEvents(req: IncomingMessage): Promise<Buffer> {
  const parts: Buffer[] = [];
  req.on("data", (part: Buffer) => parts.push(part));
  await once(req, "end");
  return Buffer.concat(parts);
}

async function readableEvents(req: IncomingMessage): Promise<Buffer> {
  const parts: Buffer[] = [];
  req.on("readable", () => {
    for (let part: unknown = req.read(7_000); part !== null; part = req.read())
      parts.push(part as Buffer);
  });
  await once(req, "end");
  return Buffer.concat(parts);
}

async function throughPipeline(req: IncomingMessage): Promise<Buffer> {
  const sink = new PassThrough();
  const [bytes] = await Promise.all([readBytes(sink), pipeline(req, sink)]);
  return bytes;
}

function late(read: Read): Read {
  return async (req) => {
    for (let i = 0; i < 5; i += 1) await turn();
    return read(req);
  };
}

async function pausing(req: IncomingMessage): Promise<Buffer> {
  const parts: Buffer[] = [];
  req.on("data", (part: Buffer) => {
    parts.push(part);
    req.pause();
    setImmediate(() => req.resume());
  });
  await once(req, "end");
  return Buffer.concat(parts);
}

/** Answers with what its handler read of the body. */
function echoing(read: Read, options: Partial<HttpOptions> = {}, store: Store = memoryStore()) {
  return idempotency(store, { maxResponseBytes: 2 * LIMIT, ...options }).wrap(async (req, res) => {
    res.end(await read(req));
  });
}

const bytes = (length: number) => Buffer.from(Array.from({ length }, (_, i) => i % 251));

const bodies: [name: string, body: NonNullable<Sent["body"]>][] = [
  ["empty, with a length", ""],
  ["of one byte", "x"],
  ["above the high-water mark", bytes(300 * KIB)],
  ["exactly the limit", bytes(LIMIT)],
  ["in chunks", ["one ", "two ", "three"]],
  ["in many chunks above the high-water mark", Array.from({ length: 100 }, () => bytes(4 * KIB))],
];

describe.each(readers)("C38: read by %s", (_, read) => {
  test.each(bodies)("a body %s is all there", async (_name, body) => {
    await using server = await serve(echoing(read));
    const whole = Array.isArray(body)
      ? Buffer.concat(body.map((part) => Buffer.from(part)))
      : Buffer.from(body as Buffer);

    const answer = await server.send({ key: "k", body });

    expect(answer.status).toBe(200);
    expect(answer.body.equals(whole)).toBe(true);
  });

  test.each([
    ["without a field for it", ""],
    ["of length 0", "Content-Length: 0\r\n"],
    ["of zero chunks", "Transfer-Encoding: chunked\r\n"],
  ])("an empty body %s ends", async (_name, field) => {
    await using server = await serve(echoing(read));
    using client = await dial(server.port);
    client.write(`${head(field)}${field.startsWith("T") ? "0\r\n\r\n" : ""}`);

    expect(await client.until("\r\n\r\n")).toMatch(/^HTTP\/1.1 200 OK\r\n/);
  });

  test("a body that had arrived before the middleware ran is all there", async () => {
    const body = bytes(1_000);
    const handled = echoing(read);
    await using server = await serve(async (req, res) => {
      while (!req.complete) await turn();
      handled(req, res);
    });

    expect((await server.send({ key: "k", body })).body.equals(body)).toBe(true);
  });

  test("a body that had arrived in part, up to the high-water mark, is all there", async () => {
    const body = bytes(300 * KIB);
    const handled = echoing(read);
    await using server = await serve(async (req, res) => {
      while (req.readableLength < req.readableHighWaterMark) await turn();
      handled(req, res);
    });

    expect((await server.send({ key: "k", body })).body.equals(body)).toBe(true);
  });
});

/** The head of a keyed request, as lines. */
function head(fields: string, key = "k"): string {
  return `POST / HTTP/1.1\r\nHost: test\r\nIdempotency-Key: ${key}\r\n${fields}\r\n`;
}

test("C38: a body in many packets is all there", async () => {
  await using server = await serve(echoing(readBytes));
  using client = await dial(server.port);
  client.socket.setNoDelay();
  for (const byte of Buffer.from(`${head("Content-Length: 6\r\n")}packet`)) {
    client.write(Uint8Array.of(byte));
    await turn();
  }

  expect(await client.until("packet")).toContain("200 OK");
});

test("a request's own trailers are there once its body was read", async () => {
  const safe = idempotency(memoryStore());
  await using server = await serve(
    safe.wrap(async (req, res) => {
      await readBytes(req);
      res.end(`sum ${req.trailers["x-sum"]}`);
    }),
  );
  using client = await dial(server.port);
  client.write(
    `${head("Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\n")}1\r\nx\r\n0\r\nX-Sum: 7\r\n\r\n`,
  );

  expect(await client.until("sum 7")).toContain("200 OK");
});

test("a client that expects 100 Continue is told to send its body, and it arrives", async () => {
  await using server = await serve(echoing(readBytes));
  const req = request({
    port: server.port,
    method: "POST",
    headers: { "Idempotency-Key": "k", Expect: "100-continue", "Content-Length": 4 },
  });
  req.flushHeaders();
  await once(req, "continue");
  req.end("body");
  const [res] = (await once(req, "response")) as [IncomingMessage];

  expect((await readBytes(res)).toString()).toBe("body");
});

test("two requests on one connection, one after the other, each get their own body", async () => {
  await using server = await serve(echoing(readBytes));
  using client = await dial(server.port);

  client.write(`${head("Content-Length: 3\r\n", "a")}one`);
  await client.until("one");
  client.write(`${head("Transfer-Encoding: chunked\r\n", "b")}3\r\ntwo\r\n0\r\n\r\n`);
  expect(await client.until("two")).toMatch(/one[^]*two/);
});

test("pipelined requests each get their own body, and are answered in order", async () => {
  const gate = deferred();
  const arrived = deferred();
  const safe = idempotency(memoryStore());
  await using server = await serve(
    safe.wrap(async (req, res) => {
      const body = (await readBytes(req)).toString();
      if (body === "one") await gate.promise;
      else arrived.resolve();
      res.end(body);
    }),
  );
  using client = await dial(server.port);
  const large = "y".repeat(100 * KIB);

  client.write(
    `${head("Content-Length: 3\r\n", "a")}one${head(`Content-Length: ${large.length}\r\n`, "b")}${large}`,
  );
  await arrived.promise;
  gate.resolve();
  expect(await client.until(large)).toMatch(/one[^]*yyy/);
});

test("a handler that does not read the body leaves the connection usable", async () => {
  const safe = idempotency(memoryStore());
  await using server = await serve(safe.wrap((_, res) => res.end("unread")));
  using client = await dial(server.port);

  for (const key of ["a", "b"]) {
    client.write(`${head(`Content-Length: ${200 * KIB}\r\n`, key)}${"x".repeat(200 * KIB)}`);
    await client.until("unread", key === "a" ? 1 : 2);
  }
  expect(await client.until("200 OK", 2)).toContain("unread");
});

test("what a handler leaves of a body that it began to read stays there, as without the middleware", async () => {
  const requests: IncomingMessage[] = [];
  const safe = idempotency(memoryStore());
  await using server = await serve(
    safe.wrap(async (req, res) => {
      await once(req, "readable");
      res.end(`read ${req.read(4)}`);
      requests.push(req);
    }),
  );
  using client = await dial(server.port);

  for (const key of ["a", "b"]) {
    client.write(`${head("Content-Length: 13\r\n", key)}some and rest`);
    await client.until("read some", key === "a" ? 1 : 2);
  }
  expect(String(requests[0]?.read())).toBe(" and rest");
});

describe("parsers mounted after the middleware", () => {
  const parsed = (parser: RequestHandler) => {
    const app = express();
    app.use(idempotency(memoryStore()), parser, (req, res) => {
      res.json(
        Buffer.isBuffer(req.body) ? { raw: req.body.toString() } : { body: req.body as unknown },
      );
    });
    return app;
  };

  test.each([
    ["express.json", express.json(), "application/json", '{"a":[1]}', { body: { a: [1] } }],
    [
      "express.urlencoded",
      express.urlencoded({ extended: true }),
      "application/x-www-form-urlencoded",
      "a=1&b[]=2",
      { body: { a: "1", b: ["2"] } },
    ],
    ["express.text", express.text(), "text/plain", "größe", { body: "größe" }],
    ["express.raw", express.raw(), "application/octet-stream", "bytes", { raw: "bytes" }],
  ])(
    "C38: %s finds the body, first and for the fingerprint",
    async (_, parser, type, body, result) => {
      await using server = await serve(parsed(parser));
      const sent = { key: "k", headers: { "Content-Type": type } };

      expect(JSON.parse((await server.send({ ...sent, body })).text)).toEqual(result);
      expect(await server.send({ ...sent, body })).toMatchObject({ status: 200 });
      expect(await server.send({ ...sent, body: `${body}x` })).toMatchObject({ status: 422 });
    },
  );

  test("C38: a multipart parser that is piped to finds the body; another boundary is the same request", async () => {
    const fields = (boundary: string) =>
      `--${boundary}\r\nContent-Disposition: form-data; name="a"\r\n\r\none\r\n--${boundary}--\r\n`;
    let runs = 0;
    const safe = idempotency(memoryStore());
    await using server = await serve(
      safe.wrap((req, res) => {
        runs += 1;
        const boundary = /boundary=(.*)$/.exec(req.headers["content-type"] ?? "")?.[1] ?? "";
        const parts: Buffer[] = [];
        const parser = new Writable({
          write: (part: Buffer, _, done) => {
            parts.push(part);
            done();
          },
          final: (done) => {
            const [, part = ""] = Buffer.concat(parts).toString().split(`--${boundary}`);
            res.end(part.trim().split("\r\n\r\n").at(-1));
            done();
          },
        });
        req.pipe(parser);
      }),
    );
    const send = (boundary: string) =>
      server.send({
        key: "k",
        body: fields(boundary),
        headers: { "Content-Type": `multipart/form-data; boundary=${boundary}` },
      });

    expect(await send("first")).toMatchObject({ status: 200, text: "one" });
    expect(await send("other")).toMatchObject({ status: 200, text: "one" });
    expect(runs).toBe(1);
  });
});

describe("bodies read before the middleware", () => {
  const after = (parser: RequestHandler, options: Partial<HttpOptions> = {}) => {
    const app = express();
    app.use(parser, idempotency(memoryStore(), options), (req, res) => {
      res.json(Buffer.isBuffer(req.body) ? req.body.toString() : req.body);
    });
    return app;
  };

  test.each([
    ["express.json", express.json(), "application/json", '{"b":1,"a":2}', '{ "a": 2, "b": 1 }'],
    [
      "express.urlencoded",
      express.urlencoded(),
      "application/x-www-form-urlencoded",
      "a=1",
      "a=%31",
    ],
    ["express.text", express.text(), "text/plain", "größe", "größe"],
    ["express.raw", express.raw(), "application/octet-stream", "bytes", "bytes"],
  ])("%s leaves what the fingerprint needs", async (_, parser, type, body, same) => {
    await using server = await serve(after(parser));
    const sent = { key: "k", headers: { "Content-Type": type } };

    const first = await server.send({ ...sent, body });
    expect(first.status).toBe(200);
    expect(await server.send({ ...sent, body: same })).toMatchObject({
      status: 200,
      text: first.text,
    });
    const other = type === "application/json" ? '{"b":1,"a":3}' : `${body}2`;
    expect(await server.send({ ...sent, body: other })).toMatchObject({ status: 422 });
  });

  test("a parser that was not concerned leaves the body to the middleware", async () => {
    await using server = await serve(after(express.json()));
    const sent = { key: "k", headers: { "Content-Type": "text/plain" } };

    expect(await server.send({ ...sent, body: "one" })).toMatchObject({ status: 200 });
    expect(await server.send({ ...sent, body: "two" })).toMatchObject({ status: 422 });
  });

  test("rawBody counts where a platform leaves it, byte by byte", async () => {
    const raw: RequestHandler = express.json({
      verify: (req, _, buffer) => Object.assign(req, { rawBody: buffer }),
    });
    const rewritten: RequestHandler = (req, _, next) => {
      req.body = { rewritten: true };
      next();
    };
    const app = express();
    app.use(raw, rewritten, idempotency(memoryStore()), (req, res) => void res.json(req.body));
    await using server = await serve(app);
    const sent = { key: "k", headers: { "Content-Type": "application/json" } };

    expect(await server.send({ ...sent, body: '{"a":1}' })).toMatchObject({
      text: '{"rewritten":true}',
    });
    expect(await server.send({ ...sent, body: '{"a":2}' })).toMatchObject({ status: 422 });
  });

  test.each(["", "Content-Length: 0\r\n"])(
    "an empty body that was read before is still empty (%j)",
    async (field) => {
      const handled = echoing(readBytes);
      await using server = await serve(async (req, res) => {
        await readBytes(req);
        handled(req, res);
      });
      using client = await dial(server.port);

      client.write(head(field));
      expect(await client.until("\r\n\r\n")).toMatch(/^HTTP\/1.1 200 OK\r\n/);
    },
  );

  test("beyond the limit it gets 413, and the connection closes: nothing more comes", async () => {
    // A clock that nobody moves: the connection closes without waiting for anything.
    using _clock = fakeClock();
    await using server = await serve(after(express.json(), { maxBodyBytes: 10 }));
    using client = await dial(server.port);

    client.write(
      `${head("Content-Type: application/json\r\nContent-Length: 14\r\n")}{"a":"longer"}`,
    );
    expect(await client.closed()).toMatch(/^HTTP\/1.1 413 /);
  });

  test("the limit holds for a body that somebody else read, too", async () => {
    await using server = await serve(after(express.json(), { maxBodyBytes: 10 }));
    const sent = { key: "k", headers: { "Content-Type": "application/json" } };

    expect(await server.send({ ...sent, body: '{"a":1}' })).toMatchObject({ status: 200 });
    expect(await server.send({ ...sent, body: '{"a":"longer"}' })).toMatchObject({ status: 413 });
  });

  test("a body that was read and left nowhere gets a 500 that says what to do; nothing runs", async () => {
    const errors: unknown[] = [];
    const calls: string[] = [];
    const safe = idempotency(untouched(calls), { onError: (error) => errors.push(error) });
    const handled = safe.wrap((_, res) => res.end("ran"));
    await using server = await serve(async (req, res) => {
      await readBytes(req);
      handled(req, res);
    });

    const answer = await server.send({ key: "k", body: "gone" });

    expect(answer.status).toBe(500);
    const problem = JSON.parse(answer.text) as { code: string; detail: string };
    expect(problem.code).toBe("BODY_UNREADABLE");
    expect(problem.detail).toContain("Mount the middleware before");
    expect(errors).toEqual([expect.objectContaining({ code: "BODY_UNREADABLE" })]);
    expect(calls).toEqual([]);
  });

  test("a multipart body that a parser took apart gets a 500: its files would not count", async () => {
    const safe = idempotency(memoryStore(), { onError: () => {} });
    const handled = safe.wrap((_, res) => res.end("ran"));
    await using server = await serve(async (req, res) => {
      await readBytes(req);
      handled(Object.assign(req, { body: { field: "the same" }, files: ["another"] }), res);
    });
    const headers = { "Content-Type": "multipart/form-data; boundary=b" };

    const answer = await server.send({ key: "k", headers, body: "--b--\r\n" });

    expect(answer.status).toBe(500);
    expect(JSON.parse(answer.text)).toMatchObject({ code: "BODY_UNREADABLE" });
  });
});

/** A store that notes whoever touches it. */
function untouched(calls: string[]): Store {
  const store = memoryStore();
  return {
    ...store,
    lock: (...args) => {
      calls.push("lock");
      return store.lock(...args);
    },
  };
}

describe("two middlewares on one request", () => {
  test("both find the body, and so does the handler; each keeps its own key", async () => {
    let runs = 0;
    const outer = idempotency(memoryStore(), { headerName: "Outer-Key" });
    const inner = idempotency(memoryStore());
    const handled = outer.wrap(
      inner.wrap(async (req, res) => {
        runs += 1;
        res.end(await readBytes(req));
      }),
    );
    await using server = await serve(handled);
    const send = (outerKey: string, body: string) =>
      server.send({ key: "k", headers: { "Outer-Key": outerKey }, body });

    expect(await send("a", "body")).toMatchObject({ status: 200, text: "body" });
    expect(await send("a", "body")).toMatchObject({ status: 200, text: "body" });
    expect(await send("b", "body")).toMatchObject({ status: 200, text: "body" });
    expect(await send("c", "other")).toMatchObject({ status: 422 });
    expect(runs).toBe(1);
  });

  test("both find a body that had arrived before", async () => {
    const outer = idempotency(memoryStore(), { headerName: "Outer-Key" });
    const inner = idempotency(memoryStore());
    const handled = outer.wrap(inner.wrap(async (req, res) => res.end(await readBytes(req))));
    await using server = await serve(async (req, res) => {
      while (!req.complete) await turn();
      handled(req, res);
    });

    const sent = { key: "k", headers: { "Outer-Key": "a" }, body: "body" };
    expect(await server.send(sent)).toMatchObject({ status: 200, text: "body" });
  });

  test("the inner one's smaller limit holds", async () => {
    const outer = idempotency(memoryStore(), { headerName: "Outer-Key" });
    const inner = idempotency(memoryStore(), { maxBodyBytes: 3 });
    await using server = await serve(outer.wrap(inner.wrap((_, res) => res.end("ran"))));
    const sent = { key: "k", headers: { "Outer-Key": "a" } };

    expect(await server.send({ ...sent, body: "four" })).toMatchObject({ status: 413 });
  });
});

describe("bodies beyond the limit", () => {
  function limited(calls: string[] = []) {
    const safe = idempotency(untouched(calls), { maxBodyBytes: 10 });
    return safe.wrap((_, res) => res.end("ran"));
  }

  test("a body of exactly the limit is taken, by length and in chunks; one byte more gets 413", async () => {
    await using server = await serve(limited());

    expect(await server.send({ key: "a", body: "x".repeat(10) })).toMatchObject({ status: 200 });
    expect(await server.send({ key: "b", body: ["xxxxx", "xxxxx"] })).toMatchObject({
      status: 200,
    });
    expect(await server.send({ key: "c", body: "x".repeat(11) })).toMatchObject({ status: 413 });
    expect(await server.send({ key: "d", body: ["xxxxx", "xxxxxx"] })).toMatchObject({
      status: 413,
    });
  });

  test.each([
    ["announced by its length", `Content-Length: ${LIMIT}\r\n`, "some"],
    ["that outgrows it in chunks", "Transfer-Encoding: chunked\r\n", "c\r\nmore than 10"],
  ])(
    "a body %s gets its 413 while it is still being sent; the store is not touched",
    async (_, field, part) => {
      using clock = fakeClock();
      const calls: string[] = [];
      await using server = await serve(limited(calls));
      using client = await dial(server.port);

      client.write(head(field) + part);
      const answer = await client.until('"code":"BODY_TOO_LARGE"}');
      expect(answer).toMatch(/^HTTP\/1.1 413 Payload Too Large\r\n/);
      expect(answer).toMatch(/^Connection: close\r$/m);
      // A client that never comes to its end does not keep the connection.
      const closed = client.closed();
      await clock.advance(1_000);
      await closed;
      expect(calls).toEqual([]);
    },
  );

  test("a client that sends its body to the end reads the 413; then the connection closes", async () => {
    using _clock = fakeClock();
    await using server = await serve(limited());
    using client = await dial(server.port);

    client.write(head(`Content-Length: ${LIMIT}\r\n`));
    await client.until("BODY_TOO_LARGE");
    client.write("x".repeat(LIMIT));
    expect(await client.closed()).toMatch(/^HTTP\/1.1 413 /);
  });

  test("a client library that sends 5 MiB without looking gets the 413", async () => {
    await using server = await serve(limited());
    const chunks = Array.from({ length: 80 }, () => bytes(64 * KIB));

    expect(await server.send({ key: "k", body: chunks })).toMatchObject({ status: 413 });
  });

  test("a body that had arrived beyond the limit before the middleware ran gets 413 at once", async () => {
    const handled = limited();
    await using server = await serve(async (req, res) => {
      while (!req.complete) await turn();
      handled(req, res);
    });
    using client = await dial(server.port);

    client.write(`${head("Transfer-Encoding: chunked\r\n")}c\r\nmore than 10\r\n0\r\n\r\n`);
    expect(await client.closed()).toMatch(/^HTTP\/1.1 413 /);
  });
});

test("a body that had arrived beyond the limit, and then stops, gets its 413", async () => {
  const safe = idempotency(memoryStore(), { maxBodyBytes: 10 });
  const handled = safe.wrap((_, res) => res.end("ran"));
  await using server = await serve(async (req, res) => {
    while (req.readableLength < 11) await turn();
    handled(req, res);
  });
  using client = await dial(server.port);

  client.write(`${head("Transfer-Encoding: chunked\r\n")}c\r\nmore than 10\r\n`);
  expect(await client.until("BODY_TOO_LARGE")).toMatch(/^HTTP\/1.1 413 /);
});

test("the request is given on as it was found: nothing watches its body any more", async () => {
  const safe = idempotency(memoryStore());
  await using server = await serve(
    safe.wrap((req, res) => res.end(`${Object.hasOwn(req, "push")} ${req.listenerCount("close")}`)),
  );

  expect(await server.send({ key: "k", body: "body" })).toMatchObject({ text: "false 0" });
});

test("a client that stops half-way: nothing runs, the store is not touched, nothing waits for it", async () => {
  const calls: string[] = [];
  const safe = idempotency(untouched(calls));
  const over = deferred();
  let runs = 0;
  await using server = await serve((req, res) => {
    void Promise.resolve(
      safe(req, res, () => {
        runs += 1;
      }),
    ).then(over.resolve);
  });
  using client = await dial(server.port);

  client.write(`${head("Content-Length: 10\r\n")}half`);
  client.socket.end();
  await over.promise;

  expect(runs).toBe(0);
  expect(calls).toEqual([]);
});

test("a client that is gone before the middleware runs is not executed for: what it sent cannot be read any more", async () => {
  const calls: string[] = [];
  const safe = idempotency(untouched(calls));
  const over = deferred();
  await using server = await serve(async (req, res) => {
    const closed = once(req, "close");
    client.socket.destroy();
    await closed.catch(() => {});
    await safe(req, res, () => calls.push("ran"));
    over.resolve();
  });
  using client = await dial(server.port);

  client.write(`${head("Content-Length: 4\r\n")}body`);
  await over.promise;
  expect(calls).toEqual([]);
});

test("C24: a handler that changes the parsed body completes the key that was claimed", async () => {
  const app = express();
  app.use(express.json(), idempotency(memoryStore()), (req, res) => {
    (req.body as { a: number }).a = 2;
    res.json(req.body);
  });
  await using server = await serve(app);
  const sent = { key: "k", body: '{"a":1}', headers: { "Content-Type": "application/json" } };

  expect(await server.send(sent)).toMatchObject({ text: '{"a":2}' });
  expect(await server.send(sent)).toMatchObject({ status: 200, text: '{"a":2}' });
});
