/**
 * C32: streaming compression, before and after the middleware. The wrapper below does what the `compression` package
 * (1.7.4, by way of `on-headers`) does to a response, internals included, because that is what most services run.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createGzip, gunzipSync, type Gzip } from "node:zlib";
import { describe, expect, test } from "vitest";
import { idempotency } from "../../src/index.js";
import { memoryStore } from "../../stores/memory.js";
import { serve, type Answer, type Listener } from "../support/http.js";

const THRESHOLD = 100;
const LONG = "compressible ".repeat(1_000);

type Chunk = string | Uint8Array;
type Wrapped = ServerResponse & { _header: string | null; _implicitHeader(): void };

function compressed(listener: Listener): Listener {
  return (req, res) => {
    compress(req, res as Wrapped);
    return listener(req, res);
  };
}

function compress(req: IncomingMessage, res: Wrapped): void {
  const write = res.write.bind(res) as (...args: unknown[]) => boolean;
  const end = res.end.bind(res) as (...args: unknown[]) => Wrapped;
  const on = res.on.bind(res);
  const waiting: (() => void)[] = [];
  let ended = false;
  let length: number | undefined;
  let gzip: Gzip | undefined;
  const bytes = (chunk: Chunk, encoding?: BufferEncoding) =>
    typeof chunk === "string" ? Buffer.from(chunk, encoding) : chunk;

  res.write = ((chunk: Chunk, encoding?: BufferEncoding) => {
    if (ended) return false;
    if (!res._header) res._implicitHeader();
    return gzip ? gzip.write(bytes(chunk, encoding)) : write(chunk, encoding);
  }) as typeof res.write;
  res.end = ((chunk?: Chunk, encoding?: BufferEncoding) => {
    if (ended) return false;
    if (!res._header) {
      if (!res.getHeader("Content-Length")) length = chunk ? Buffer.byteLength(chunk) : 0;
      res._implicitHeader();
    }
    if (!gzip) return end(chunk, encoding);
    ended = true;
    return chunk ? gzip.end(bytes(chunk, encoding)) : gzip.end();
  }) as typeof res.end;
  res.on = ((event: string, heard: () => void) => {
    if (event !== "drain") return on(event, heard);
    if (gzip) gzip.on(event, heard);
    else waiting.push(heard);
    return res;
  }) as typeof res.on;

  onHeaders(res, () => {
    const declared = Number(res.getHeader("Content-Length"));
    res.appendHeader("Vary", "Accept-Encoding");
    if (declared < THRESHOLD || Number(length) < THRESHOLD) return;
    if (res.hasHeader("Content-Encoding") || req.headers["accept-encoding"] !== "gzip") return;
    const stream = createGzip();
    gzip = stream;
    for (const heard of waiting) stream.on("drain", heard);
    res.setHeader("Content-Encoding", "gzip").removeHeader("Content-Length");
    stream.on("data", (chunk) => {
      if (!write(chunk)) stream.pause();
    });
    stream.on("end", () => end());
    on("drain", () => stream.resume());
  });
}

function onHeaders(res: ServerResponse, listener: () => void): void {
  const writeHead = res.writeHead.bind(res) as (...args: unknown[]) => ServerResponse;
  let fired = false;
  res.writeHead = (status: number, ...rest: unknown[]) => {
    res.statusCode = status;
    for (const [name, value] of Object.entries(rest.at(-1) ?? {}))
      res.setHeader(name, value as string);
    if (!fired) {
      fired = true;
      listener();
    }
    return writeHead(status);
  };
}

const GZIP = { key: "k", headers: { "Accept-Encoding": "gzip" } };
const PLAIN = { key: "k" };

function decoded({ headers, body }: Answer): string {
  return (headers["content-encoding"] === "gzip" ? gunzipSync(body) : body).toString();
}

const handlers: [name: string, handler: Listener][] = [
  ["end", (_, res) => res.end(LONG)],
  [
    "setHeader and end, with a length",
    (_, res) => {
      res.setHeader("Content-Length", LONG.length);
      res.end(LONG);
    },
  ],
  ["writeHead and end", (_, res) => res.writeHead(200, { "Content-Type": "text/plain" }).end(LONG)],
  [
    "several writes and end",
    (_, res) => {
      for (let i = 0; i < LONG.length; i += 1_000) res.write(LONG.slice(i, i + 1_000));
      res.end();
    },
  ],
  [
    "writeHead, write and end",
    (_, res) => {
      res.writeHead(200, { "Content-Type": "text/plain" });
      res.write(LONG.slice(0, 5_000));
      res.end(LONG.slice(5_000));
    },
  ],
  [
    "pipeline",
    (_, res) =>
      pipeline(Readable.from([LONG.slice(0, 5_000), LONG.slice(5_000)]), res).catch(() => {}),
  ],
];

describe("mounted before the middleware", () => {
  test.each(handlers)(
    "%s: each client gets the encoding that it accepts, first and replayed",
    async (_, handler) => {
      const safe = idempotency(memoryStore());
      await using server = await serve(compressed(safe.wrap(handler)));

      const first = await server.send(GZIP);
      const plain = await server.send(PLAIN);
      const zipped = await server.send(GZIP);

      expect([first, plain, zipped].map(({ headers }) => headers["content-encoding"])).toEqual([
        "gzip",
        undefined,
        "gzip",
      ]);
      expect([first, plain, zipped].map(decoded)).toEqual([LONG, LONG, LONG]);
      expect([first, plain, zipped].map(({ headers }) => headers["vary"])).toEqual(
        Array.from({ length: 3 }, () => "Accept-Encoding"),
      );
      expect(plain.headers["idempotency-replayed"]).toBe("true");
    },
  );

  test("what is too small to compress, and a problem, leave as they are", async () => {
    const safe = idempotency(memoryStore());
    await using server = await serve(compressed(safe.wrap((_, res) => res.end("small"))));

    expect(await server.send(GZIP)).toMatchObject({ text: "small" });
    expect(await server.send(GZIP)).toMatchObject({ text: "small" });
    const refused = await server.send({ ...GZIP, body: "other" });
    expect(decoded(refused)).toContain("KEY_REUSED");
  });

  test.each(handlers)(
    "%s: a response beyond the limit arrives whole, and is not kept",
    async (_, handler) => {
      const safe = idempotency(memoryStore(), { maxResponseBytes: 200 });
      await using server = await serve(compressed(safe.wrap(handler)));

      const first = await server.send(GZIP);
      expect(first.headers["content-encoding"]).toBe("gzip");
      expect(decoded(first)).toBe(LONG);
      expect(await server.send(PLAIN)).toMatchObject({ status: 410 });
    },
  );
});

describe("mounted after the middleware", () => {
  test.each(handlers)(
    "%s: the encoded bytes are the response, and every client gets them",
    async (_, handler) => {
      const safe = idempotency(memoryStore());
      await using server = await serve(safe.wrap(compressed(handler)));

      const first = await server.send(GZIP);
      const replay = await server.send(PLAIN);

      expect(decoded(first)).toBe(LONG);
      expect(replay.body.equals(first.body)).toBe(true);
      expect(replay.headers).toMatchObject({ "content-encoding": "gzip", vary: "Accept-Encoding" });
    },
  );

  test.each(handlers)("%s: a response beyond the limit arrives whole", async (_, handler) => {
    const safe = idempotency(memoryStore(), { maxResponseBytes: 10 });
    await using server = await serve(safe.wrap(compressed(handler)));

    expect(decoded(await server.send(GZIP))).toBe(LONG);
    expect(await server.send(GZIP)).toMatchObject({ status: 410 });
  });
});

test("a wrapper that sets fields when the body ends can do so, first and on a replay", async () => {
  const safe = idempotency(memoryStore());
  let answers = 0;
  const handled = safe.wrap((_, res) => res.end("x"));
  await using server = await serve((req, res) => {
    const end = res.end.bind(res) as (...args: unknown[]) => ServerResponse;
    res.end = ((...args: unknown[]) => {
      answers += 1;
      res.setHeader("X-Answer", answers);
      return end(...args);
    }) as typeof res.end;
    handled(req, res);
  });

  expect(await server.send(PLAIN)).toMatchObject({ headers: { "x-answer": "1" }, text: "x" });
  expect(await server.send(PLAIN)).toMatchObject({ headers: { "x-answer": "2" }, text: "x" });
});

test("a wrapper that sets fields at the first write can do so, where the response streams, too", async () => {
  const safe = idempotency(memoryStore(), { maxResponseBytes: 10 });
  const handled = safe.wrap((_, res) => {
    res.write(LONG);
    res.end();
  });
  await using server = await serve((req, res) => {
    const write = res.write.bind(res) as (...args: unknown[]) => boolean;
    res.write = (...args: unknown[]) => {
      if (!res.headersSent) res.setHeader("X-Written", "1");
      return write(...args);
    };
    handled(req, res);
  });

  expect(await server.send(PLAIN)).toMatchObject({ headers: { "x-written": "1" }, text: LONG });
});

test("a wrapper that changes the status when the head goes out changes its reason phrase with it", async () => {
  const safe = idempotency(memoryStore());
  const handled = safe.wrap((_, res) => res.writeHead(200).end("x"));
  await using server = await serve((req, res) => {
    const writeHead = res.writeHead.bind(res);
    res.writeHead = () => writeHead(202);
    handled(req, res);
  });

  expect(await server.send(PLAIN)).toMatchObject({ status: 202, reason: "Accepted" });
  expect(await server.send(PLAIN)).toMatchObject({ status: 202, reason: "Accepted" });
});

test("a wrapper inside that never passes writeHead on does not keep the answer back", async () => {
  const safe = idempotency(memoryStore());
  await using server = await serve(
    safe.wrap((_, res) => {
      res.writeHead = () => res;
      res.statusCode = 201;
      res.end("x");
    }),
  );

  expect(await server.send(PLAIN)).toMatchObject({ status: 201, text: "x" });
  expect(await server.send(PLAIN)).toMatchObject({ status: 201, text: "x" });
});
