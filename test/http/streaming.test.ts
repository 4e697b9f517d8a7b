/** Responses that are not kept whole: their bytes leave at once, only the end waits for the tombstone. */
import { once } from "node:events";
import type { ClientRequest, IncomingMessage, ServerResponse } from "node:http";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { expect, test } from "vitest";
import { idempotency, type HttpOptions, type Store } from "../../src/index.js";
import { memoryStore } from "../../stores/memory.js";
import { deferred } from "../support/deferred.js";
import { listen } from "../support/events.js";
import { dial, read, serve, type TestServer } from "../support/http.js";
import { essence } from "../support/side-by-side.js";

const LIMIT = 100;
const KIB = 1024;
const FULL = "x".repeat(LIMIT);

type Respond = (res: ServerResponse, req: IncomingMessage) => unknown;

function streaming(
  respond: Respond,
  options: Partial<HttpOptions> = {},
  store: Store = memoryStore(),
) {
  let runs = 0;
  const errors: unknown[] = [];
  const safe = idempotency(store, {
    maxResponseBytes: LIMIT,
    onError: (error) => errors.push(error),
    ...options,
  });
  const listener = safe.wrap((req, res) => {
    if (req.url === "/unkeyed") return res.end();
    runs += 1;
    return respond(res, req);
  });
  return { listener, errors, runs: () => runs };
}

/** A store whose `set` waits for a gate. */
function gated(store: Store = memoryStore()) {
  const asked = deferred();
  const gate = deferred();
  const set: Store["set"] = async (...args) => {
    asked.resolve();
    await gate.promise;
    return await store.set(...args);
  };
  return { store: { ...store, set }, asked: asked.promise, open: () => gate.resolve() };
}

const broken = async () => {
  throw new Error("ECONNREFUSED");
};

async function response(req: ClientRequest): Promise<IncomingMessage> {
  const [res] = (await once(req, "response")) as [IncomingMessage];
  return res;
}

/** Reads until this many bytes are there, and leaves the rest for later. */
async function readAtLeast(res: IncomingMessage, length: number): Promise<string> {
  let text = "";
  while (text.length < length) {
    const part = res.read() as Buffer | null;
    if (part === null) await once(res, "readable");
    else text += part.toString("latin1");
  }
  return text;
}

/** Whatever the server had sent by now has arrived once this is over. */
async function roundTrip(server: TestServer): Promise<void> {
  await server.send({ path: "/unkeyed" });
  await server.send({ path: "/unkeyed" });
}

async function expectGone(server: TestServer): Promise<void> {
  const retry = await server.send({ key: "k" });
  expect(retry.status).toBe(410);
  expect(retry.headers["content-type"]).toBe("application/problem+json");
  expect(JSON.parse(retry.text)).toMatchObject({ code: "RESPONSE_NOT_KEPT" });
}

test("C30, C31: beyond the limit bytes leave at once, while the handler still works; a retry gets 410", async () => {
  const written = deferred();
  const gate = deferred();
  const { listener, runs } = streaming(async (res) => {
    res.writeHead(201, { "X-A": "1" });
    res.write(FULL);
    res.write("first byte too much");
    written.resolve();
    await gate.promise;
    res.end(", and the rest");
  });
  await using server = await serve(listener);
  const res = await response(server.open({ key: "k" }));
  await written.promise;

  expect(res).toMatchObject({ statusCode: 201, headers: { "x-a": "1" } });
  const early = await readAtLeast(res, LIMIT + 19);
  gate.resolve();
  const { text } = await read(res);

  expect(early + text).toBe(`${FULL}first byte too much, and the rest`);
  await expectGone(server);
  expect(runs()).toBe(1);
});

test("up to the limit nothing leaves before the end", async () => {
  const written = deferred();
  const gate = deferred();
  const { listener } = streaming(async (res) => {
    res.write(FULL);
    written.resolve();
    await gate.promise;
    res.end();
  });
  await using server = await serve(listener);
  let arrived = false;
  const req = server.open({ key: "k" }).on("response", () => {
    arrived = true;
  });
  const coming = response(req);
  await written.promise;
  await roundTrip(server);

  expect(arrived).toBe(false);
  gate.resolve();
  expect(await read(await coming)).toMatchObject({ text: FULL });
  expect(await server.send({ key: "k" })).toMatchObject({ status: 200, text: FULL });
});

test.each<[name: string, respond: (res: ServerResponse, length: number) => unknown]>([
  ["ended at once", (res, length) => res.end("x".repeat(length))],
  [
    "written and ended",
    (res, length) => {
      res.write("x".repeat(length));
      res.end();
    },
  ],
  [
    "written in pieces, the last with the end",
    (res, length) => {
      res.write("x");
      res.write("x".repeat(length - 2));
      res.end("x");
    },
  ],
])(
  "a response %s of exactly maxResponseBytes is kept, of one more it is not",
  async (_, respond) => {
    await using fits = await serve(streaming((res) => respond(res, LIMIT)).listener);
    await using outgrows = await serve(streaming((res) => respond(res, LIMIT + 1)).listener);

    expect(await fits.send({ key: "k" })).toMatchObject({ text: FULL });
    expect(await fits.send({ key: "k" })).toMatchObject({ status: 200, text: FULL });
    expect(await outgrows.send({ key: "k" })).toMatchObject({ text: `${FULL}x` });
    await expectGone(outgrows);
  },
);

test("C30: what ends beyond the limit at once arrives whole, with its length", async () => {
  const big = Buffer.alloc(5 * KIB * KIB, "big");
  const { listener } = streaming((res) => res.writeHead(201, { "X-A": "1" }).end(big));
  await using server = await serve(listener);

  const answer = await server.send({ key: "k" });

  expect(answer).toMatchObject({
    status: 201,
    headers: { "x-a": "1", "content-length": `${big.length}` },
  });
  expect(answer.body.equals(big)).toBe(true);
  await expectGone(server);
});

test.each<[name: string, head: Respond, body: string]>([
  ["in chunks", () => {}, FULL + FULL],
  ["with a length", (res) => res.setHeader("Content-Length", 2 * LIMIT), FULL + FULL],
])(
  "P3: the tombstone is stored before the client has the end of a stream %s",
  async (_, head, body) => {
    const { store, asked, open } = gated();
    const { listener } = streaming(
      (res) => {
        head(res, res.req);
        for (const byte of body) res.write(byte);
        res.end();
      },
      {},
      store,
    );
    await using server = await serve(listener);
    const res = await response(server.open({ key: "k" }));
    await asked;
    res.resume();
    await roundTrip(server);

    expect(res.complete).toBe(false);
    open();
    await once(res, "end");
    expect(res.complete).toBe(true);
    await expectGone(server);
  },
);

test("P3: of a declared length, all but the last chunk has left while the tombstone is being stored", async () => {
  const { store, asked, open } = gated();
  const { listener } = streaming(
    (res) => {
      res.writeHead(200, { "Content-Length": LIMIT + 10 });
      res.write(FULL);
      res.write("12345");
      res.end("67890");
    },
    {},
    store,
  );
  await using server = await serve(listener);
  const res = await response(server.open({ key: "k" }));
  await asked;

  expect(await readAtLeast(res, LIMIT + 5)).toBe(`${FULL}12345`);
  open();
  expect(await read(res)).toMatchObject({ text: "67890" });
});

test("bytes beyond a declared length are not sent: the connection's next answer is not mixed up with them", async () => {
  const { listener } = streaming((res) => {
    res.writeHead(200, { "Content-Length": LIMIT + 1 });
    res.write(FULL);
    res.write("ab");
    res.write("cd");
    res.end("ef");
  });
  await using server = await serve(listener);
  using client = await dial(server.port);

  client.write("POST / HTTP/1.1\r\nHost: a\r\nIdempotency-Key: k\r\nContent-Length: 0\r\n\r\n");
  await client.until(`${FULL}a`);
  client.write("POST /unkeyed HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
  expect(await client.until("HTTP/1.1 200", 2)).toContain(`${FULL}aHTTP/1.1 200`);
});

test("C31: an event stream leaves at once, and a retry gets 410", async () => {
  const gate = deferred();
  const { listener, runs } = streaming(async (res) => {
    res.setHeader("Content-Type", "text/event-stream; charset=utf-8");
    res.write("data: 1\n\n");
    await gate.promise;
    res.end("data: 2\n\n");
  });
  await using server = await serve(listener);
  const res = await response(server.open({ key: "k" }));

  expect(await readAtLeast(res, 9)).toBe("data: 1\n\n");
  gate.resolve();
  expect(await read(res)).toMatchObject({ text: "data: 2\n\n" });
  await expectGone(server);
  expect(runs()).toBe(1);
});

test("C31: flushHeaders sends the head at once, and a retry gets 410", async () => {
  const gate = deferred();
  const { listener } = streaming(async (res) => {
    res.setHeader("X-A", "1");
    res.flushHeaders();
    await gate.promise;
    res.end("body");
  });
  await using server = await serve(listener);
  const res = await response(server.open({ key: "k" }));

  expect(res.headers["x-a"]).toBe("1");
  gate.resolve();
  expect(await read(res)).toMatchObject({ text: "body" });
  await expectGone(server);
});

test("a retry while the first answer streams gets 409", async () => {
  const gate = deferred();
  const { listener, runs } = streaming(async (res) => {
    res.flushHeaders();
    await gate.promise;
    res.end();
  });
  await using server = await serve(listener);
  const res = await response(server.open({ key: "k" }));

  expect(await server.send({ key: "k" })).toMatchObject({ status: 409 });
  gate.resolve();
  await read(res);
  expect(runs()).toBe(1);
});

test("P7: while the client does not read, write returns false; drain comes when it does, as without the middleware", async () => {
  const chunk = Buffer.alloc(64 * KIB, "c");
  const stuck = deferred<number>();
  const drained = deferred();
  const { listener } = streaming(async (res) => {
    let chunks = 1;
    while (res.write(chunk)) {
      chunks += 1;
      await new Promise(setImmediate);
    }
    expect(res.writableNeedDrain).toBe(true);
    expect(res.writableLength).toBeLessThan(3 * chunk.length);
    stuck.resolve(chunks);
    await once(res, "drain");
    drained.resolve();
    res.end();
  });
  await using server = await serve(listener);
  const res = await response(server.open({ key: "k" }));
  const chunks = await stuck.promise;
  const { body } = await read(res);

  await drained.promise;
  expect(body.length).toBe(chunks * chunk.length);
});

test("the write that outgrows the limit says how the socket took it", async () => {
  const { listener } = streaming((res) => {
    const results = [
      res.write(FULL),
      res.write(Buffer.alloc(40 * KIB * KIB)),
      res.writableNeedDrain,
    ];
    res.addTrailers({ "X-Results": results.join() });
    res.end();
  });
  await using server = await serve(listener);

  const answer = await server.send({ key: "k" });
  expect(answer.body.length).toBe(LIMIT + 40 * KIB * KIB);
  expect(answer.trailers).toEqual({ "x-results": "true,false,true" });
});

test("a pipeline of 20 MiB arrives whole, with its trailers", async () => {
  const part = Buffer.alloc(256 * KIB, "part");
  const { listener } = streaming(async (res) => {
    res.setHeader("Trailer", "X-Sum");
    const source = Readable.from(Array.from({ length: 80 }, () => part));
    source.on("end", () => res.addTrailers({ "X-Sum": "80" }));
    await pipeline(source, res);
  });
  await using server = await serve(listener);

  const answer = await server.send({ key: "k" });
  expect(answer.body.equals(Buffer.concat(Array.from({ length: 80 }, () => part)))).toBe(true);
  expect(answer.trailers).toEqual({ "x-sum": "80" });
  await expectGone(server);
});

test("a buffer may be reused once its streamed write has called back", async () => {
  const shared = Buffer.alloc(LIMIT);
  const { listener } = streaming(async (res) => {
    res.setHeader("Content-Length", 3 * LIMIT);
    for (const letter of "abc") {
      shared.fill(letter);
      await new Promise<void>((resolve) => res.write(shared, () => resolve()));
    }
    res.end();
    shared.fill("!");
  });
  await using server = await serve(listener);

  expect(await server.send({ key: "k" })).toMatchObject({
    text: "a".repeat(LIMIT) + "b".repeat(LIMIT) + "c".repeat(LIMIT),
  });
});

test("head and end of a stream read as without the middleware", async () => {
  const { listener } = streaming((res) => {
    res.write(FULL + FULL);
    const states = [res.headersSent, res.writableEnded];
    res.on("finish", () => states.push(res.headersSent, res.writableEnded));
    expect(() => res.setHeader("X-Late", "1")).toThrow("Cannot set headers after they are sent");
    expect(() => res.writeHead(500)).toThrow("Cannot write headers after they are sent");
    res.end();
    states.push(res.writableEnded);
    seen.resolve(states);
  });
  const seen = deferred<boolean[]>();
  await using server = await serve(listener);

  const answer = await server.send({ key: "k" });
  expect(essence(answer)).toMatchObject({ status: 200, fields: {} });
  expect(await seen.promise).toEqual([true, false, true, true, true]);
});

test("P6: a client that hangs up mid-stream: the handler is told, and a tombstone is left", async () => {
  using events = listen();
  const tombstoned = events.next("tombstoned");
  const told = deferred<boolean>();
  const { listener, runs } = streaming((res) => {
    res.on("close", () => {
      told.resolve(res.destroyed);
      res.write("to nobody", (error) => late.resolve(error));
    });
    res.write(FULL + FULL);
  });
  const late = deferred<Error | null | undefined>();
  await using server = await serve(listener);
  const req = server.open({ key: "k" });
  await response(req);
  req.destroy();

  expect(await told.promise).toBe(true);
  expect(await late.promise).toMatchObject({ code: expect.stringMatching(/^ERR_STREAM_/) });
  expect(await tombstoned).toMatchObject({ reason: "too-large" });
  await expectGone(server);
  expect(runs()).toBe(1);
});

test("a handler that goes on writing to nobody is told as without the middleware, also once the tombstone is stored", async () => {
  using events = listen();
  const tombstoned = events.next("tombstoned");
  const late = deferred<Error | null | undefined>();
  const { listener } = streaming(async (res) => {
    res.write(FULL + FULL);
    await tombstoned;
    await new Promise(setImmediate);
    res.write("to nobody", late.resolve);
  });
  await using server = await serve(listener);
  const req = server.open({ key: "k" });
  await response(req);
  req.destroy();

  expect(await late.promise).toMatchObject({ code: "ERR_STREAM_DESTROYED" });
});

test("P6: a pipeline to a client that hangs up fails as without the middleware, and a tombstone is left", async () => {
  using events = listen();
  const tombstoned = events.next("tombstoned");
  const failed = deferred<unknown>();
  async function* endless() {
    for (;;) yield Buffer.alloc(64 * KIB);
  }
  const { listener, errors } = streaming((res) =>
    pipeline(Readable.from(endless()), res).catch(failed.resolve),
  );
  await using server = await serve(listener);
  const req = server.open({ key: "k" });
  await response(req);
  req.destroy();

  expect(await failed.promise).toMatchObject({ code: "ERR_STREAM_PREMATURE_CLOSE" });
  await tombstoned;
  await expectGone(server);
  expect(errors).toEqual([]);
});

test("a client that hung up before an event stream began: the handler is told once it streams", async () => {
  using events = listen();
  const tombstoned = events.next("tombstoned");
  const started = deferred();
  const closed = deferred();
  const told = deferred();
  const { listener } = streaming(async (res, req) => {
    req.socket.once("close", closed.resolve);
    started.resolve();
    await closed.promise;
    await new Promise(setImmediate);
    res.on("close", told.resolve);
    expect(res.destroyed).toBe(false);
    res.writeHead(200, { "Content-Type": "text/event-stream" });
    expect(res.destroyed).toBe(true);
  });
  await using server = await serve(listener);
  const req = server.open({ key: "k" });
  await started.promise;
  req.destroy();

  await told.promise;
  expect(await tombstoned).toMatchObject({ reason: "streamed" });
  await expectGone(server);
});

test.each<[name: string, head: Respond]>([
  ["in chunks", () => {}],
  ["with a length", (res) => res.setHeader("Content-Length", 2 * LIMIT)],
])(
  "P3: a store that fails at the end of a stream %s cuts the connection: the client never sees a clean end",
  async (_, head) => {
    const { store, open } = gated({ ...memoryStore(), set: broken });
    const { listener, errors } = streaming(
      (res) => {
        head(res, res.req);
        res.write(FULL + "x".repeat(LIMIT - 1));
        res.end("x");
      },
      {},
      store,
    );
    await using server = await serve(listener);
    const res = await response(server.open({ key: "k" }));
    open();

    await expect(read(res)).rejects.toThrow("aborted");
    expect(res.complete).toBe(false);
    expect(errors).toEqual([expect.objectContaining({ code: "STORE_UNAVAILABLE" })]);
  },
);

test("P1: a stream whose lease was lost to a winner is cut: two results must not be told apart by luck", async () => {
  const lost: Store["set"] = async (lease, record) => ({
    state: "lost",
    winner: { ...record, fingerprint: lease.fingerprint },
  });
  const { store, open } = gated({ ...memoryStore(), set: lost });
  const { listener } = streaming(
    (res) => {
      res.write(FULL + FULL);
      res.end();
    },
    {},
    store,
  );
  await using server = await serve(listener);
  const res = await response(server.open({ key: "k" }));
  open();

  await expect(read(res)).rejects.toThrow("aborted");
});

test("P3: a store that fails when a large response ends at once makes it 503: nothing had left", async () => {
  const { listener } = streaming(
    (res) => res.end(FULL + FULL),
    {},
    { ...memoryStore(), set: broken },
  );
  await using server = await serve(listener);

  expect(await server.send({ key: "k" })).toMatchObject({ status: 503 });
});

test.each<[name: string, fail: (res: ServerResponse) => unknown]>([
  [
    "throws",
    () => {
      throw new Error("boom");
    },
  ],
  ["destroys the response", (res) => res.destroy()],
  ["destroys the response with an error", (res) => res.destroy(new Error("boom"))],
  ["pipes a source that fails", (res) => pipeline(Readable.from(failing()), res)],
])(
  "a handler that %s mid-stream cuts the connection, and the key is free again",
  async (_, fail) => {
    const { listener, runs } = streaming((res) => {
      if (runs() === 2) return res.end("whole");
      res.setHeader("X-A", "1");
      res.write(FULL + FULL);
      return fail(res);
    });
    await using server = await serve(listener);

    await expect(server.send({ key: "k" })).rejects.toThrow(/aborted|hang up/);
    expect(await server.send({ key: "k" })).toMatchObject({ text: "whole" });
  },
);

async function* failing() {
  yield FULL;
  throw new Error("source failed");
}

test("the end's callback is called once the stream has ended", async () => {
  const called = deferred<boolean>();
  const { listener } = streaming((res) => {
    res.write(FULL + FULL);
    res.end("x", () => called.resolve(res.writableFinished));
  });
  await using server = await serve(listener);

  await server.send({ key: "k" });
  expect(await called.promise).toBe(true);
});

test("a stream that ends short of its declared length is cut off by nobody's crash", async () => {
  const { listener, runs } = streaming((res) => {
    res.strictContentLength = true;
    res.writeHead(200, { "Content-Length": 1_000 });
    res.write(FULL + FULL);
    res.end("short");
  });
  await using server = await serve(listener);
  const req = server.open({ key: "k" });
  const res = await response(req);

  expect(await readAtLeast(res, 2 * LIMIT + 5)).toBe(`${FULL}${FULL}short`);
  expect(res.complete).toBe(false);
  await expectGone(server);
  expect(runs()).toBe(1);
});
