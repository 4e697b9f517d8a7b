/** The recorder: what handlers write arrives as without the middleware, the first time and on every replay. */
import { once } from "node:events";
import type { OutgoingHttpHeaders, ServerResponse } from "node:http";
import { pipeline } from "node:stream/promises";
import { Readable } from "node:stream";
import { expect, test } from "vitest";
import { idempotency, type HttpOptions, type Store } from "../../src/index.js";
import { memoryStore } from "../../stores/memory.js";
import { deferred } from "../support/deferred.js";
import { serve, type Sent } from "../support/http.js";
import {
  codeOf,
  essence,
  expectSeenAlike,
  expectTransparent,
  type Note,
} from "../support/side-by-side.js";

const HEAD: Sent = { method: "HEAD" };

type Respond = (res: ServerResponse) => unknown;

/** `writeHead` as plain JavaScript may call it. */
function writeHead(res: ServerResponse, ...args: readonly unknown[]): ServerResponse {
  return call(res, "writeHead", ...args) as ServerResponse;
}

function call(res: ServerResponse, method: keyof ServerResponse, ...args: readonly unknown[]) {
  return Reflect.apply(res[method] as (...all: unknown[]) => unknown, res, args);
}

function counting(
  respond: (res: ServerResponse, run: number) => unknown,
  options: Partial<HttpOptions> = {},
  store: Store = memoryStore(),
) {
  let runs = 0;
  const errors: unknown[] = [];
  const safe = idempotency(store, { onError: (error) => errors.push(error), ...options });
  const listener = safe.wrap((_, res) => {
    runs += 1;
    return respond(res, runs);
  });
  return { listener, errors, runs: () => runs };
}

const heads: [name: string, respond: Respond][] = [
  ["a status", (res) => writeHead(res, 202).end()],
  ["a status and a reason phrase", (res) => writeHead(res, 200, "Fine").end("x")],
  ["an empty reason phrase", (res) => writeHead(res, 200, "").end("x")],
  ["a status that has no name", (res) => writeHead(res, 299).end("x")],
  ["a status as a string", (res) => writeHead(res, "201").end("x")],
  ["an object", (res) => writeHead(res, 201, { Location: "/1", "X-Number": 7 }).end()],
  ["a reason phrase and an object", (res) => writeHead(res, 201, "Made", { "X-A": "1" }).end()],
  ["an object with lists", (res) => writeHead(res, 200, { "X-A": ["1", "2"], "X-None": [] }).end()],
  ["undefined and an object", (res) => writeHead(res, 200, undefined, { "X-A": "1" }).end()],
  ["null", (res) => writeHead(res, 200, null).end()],
  ["a flat list", (res) => writeHead(res, 200, ["X-A", "1", "x-b", "2"]).end("x")],
  [
    "a flat list with repetitions",
    (res) => writeHead(res, 200, ["X-A", "1", "X-B", "2", "X-A", "3"]).end("x"),
  ],
  ["a reason phrase and a flat list", (res) => writeHead(res, 200, "Fine", ["X-A", "1"]).end("x")],
  [
    "a list of pairs",
    (res) =>
      writeHead(res, 200, [
        ["X-A", "1"],
        ["X-A", "2"],
      ]).end("x"),
  ],
  [
    "an object over fields set before",
    (res) => {
      res.setHeader("X-A", "old");
      res.setHeader("X-B", "kept");
      writeHead(res, 200, { "x-a": "new" }).end("x");
    },
  ],
  [
    "a flat list over fields set before",
    (res) => {
      res.setHeader("X-A", "old");
      writeHead(res, 200, ["X-A", "1", "X-A", "2", "X-B", "3"]).end("x");
    },
  ],
  [
    "a flat list after a field was set and removed",
    (res) => {
      res.setHeader("X-A", "old");
      res.removeHeader("X-A");
      writeHead(res, 200, ["X-B", "1", "X-B", "2"]).end("x");
    },
  ],
  [
    "two names that differ by case",
    (res) => writeHead(res, 200, { "X-A": "1", "x-b": "2", "X-b2": "3" }).end(),
  ],
  [
    "a reason phrase set before",
    (res) => {
      res.statusMessage = "Set before";
      writeHead(res, 200).end();
    },
  ],
  [
    "none: statusCode and statusMessage",
    (res) => {
      res.statusCode = 203;
      res.statusMessage = "By property";
      res.end("x");
    },
  ],
  ["an Expect field", (res) => writeHead(res, 200, { Expect: "nothing" }).end("x")],
  [
    "a Date of its own",
    (res) => writeHead(res, 200, { Date: "Thu, 01 Jan 1970 00:00:00 GMT" }).end(),
  ],
];

test.each(heads)(
  "C25: writeHead with %s arrives as without the middleware, and again",
  async (_, respond) => {
    const { runs } = await expectTransparent((_req, res) => respond(res));
    expect(runs).toBe(1);
  },
);

test.each<[name: string, attempt: Respond]>([
  ["a status of 99", (res) => writeHead(res, 99)],
  ["a status of 1000", (res) => writeHead(res, 1000)],
  ["no status", (res) => writeHead(res)],
  ["a status that is no number", (res) => writeHead(res, "ok")],
  ["a reason phrase with a line break", (res) => writeHead(res, 200, "a\nb")],
  ["a field name with a space", (res) => writeHead(res, 200, { "a b": "1" })],
  ["an empty field name", (res) => writeHead(res, 200, { "": "1" })],
  ["a field value with a line break", (res) => writeHead(res, 200, { a: "1\r\nb: 2" })],
  ["an undefined field value", (res) => writeHead(res, 200, { a: undefined })],
  ["an odd list", (res) => writeHead(res, 200, ["a", "1", "b"])],
  [
    "pairs over fields set before",
    (res) => {
      res.setHeader("X-A", "1");
      return writeHead(res, 200, [
        ["X-B", "2"],
        ["X-C", "3"],
      ]);
    },
  ],
  ["setHeader without a value", (res) => call(res, "setHeader", "a")],
  ["setHeader with a bad name", (res) => res.setHeader("a b", "1")],
  ["appendHeader with a bad value", (res) => res.appendHeader("a", "\0")],
  ["setHeaders with a plain object", (res) => call(res, "setHeaders", { a: "1" })],
  ["removeHeader without a name", (res) => call(res, "removeHeader")],
  ["addTrailers with a bad name", (res) => res.addTrailers({ "a b": "1" })],
  ["addTrailers with a bad value", (res) => res.addTrailers({ a: "\n" })],
  ["write(null)", (res) => call(res, "write", null)],
  ["write() of nothing", (res) => call(res, "write")],
  ["write of a number", (res) => call(res, "write", 5)],
  ["write of an object", (res) => call(res, "write", {})],
  ["write of a callback alone", (res) => call(res, "write", () => {})],
  ["end of a number", (res) => call(res, "end", 5)],
])("%s throws as without the middleware, and the handler may go on", async (_, attempt) => {
  const seen = await expectSeenAlike((res, note) => {
    note(
      typeof codeOf(() => attempt(res)),
      codeOf(() => attempt(res)),
    );
    note(res.headersSent, res.writableEnded, res.statusCode);
    if (!res.headersSent) writeHead(res, 418, "Teapot");
    res.end();
  });
  expect(String(seen[0]?.[1])).toMatch(/^ERR_/);
});

test("a Trailer field that no chunks can follow throws as without the middleware", async () => {
  const seen = await expectSeenAlike((res, note) => {
    note(codeOf(() => writeHead(res, 200, { Trailer: "X-Sum", "Content-Length": 1 })));
    // Bare Node has half-applied the head by now, so that no answer of it would be whole.
    res.destroy();
  });
  expect(seen[0]).toEqual(["ERR_HTTP_TRAILER_INVALID"]);
});

test("setHeader, appendHeader, setHeaders and removeHeader arrive as without the middleware, and again", async () => {
  const { first } = await expectTransparent((_, res) => {
    res.setHeader("X-Removed", "1");
    res.setHeader("X-Number", 7);
    res.setHeader("X-List", ["a", "b"]);
    res.appendHeader("X-List", "c");
    res.appendHeader("X-Appended", "1").appendHeader("x-appended", ["2", "3"]);
    res.setHeaders(new Map([["X-Map", "1"]]));
    res.setHeaders(new Headers({ "X-Fetch": "2" }));
    res.removeHeader("x-removed");
    res.end("x");
  });

  expect(essence(first).fields).toEqual({
    "X-Number": ["7"],
    "X-List": ["a", "b", "c"],
    "X-Appended": ["1", "2", "3"],
    "X-Map": ["1"],
    "x-fetch": ["2"],
  });
});

test.each([204, 304])(
  "C25: a %i with a body written has none, bare, first and replayed",
  async (status) => {
    const { runs } = await expectTransparent((_, res) => {
      res.writeHead(status, { ETag: '"1"' });
      res.write("ignored");
      res.end("ignored too");
    });
    expect(runs).toBe(1);
  },
);

test("C25: the answer to HEAD has no body, and keeps the length that it declares", async () => {
  const { first } = await expectTransparent((_, res) => {
    res.writeHead(200, { "Content-Length": 1234, "Content-Type": "text/plain" });
    res.write("ignored");
    res.end("ignored too");
  }, HEAD);
  expect(first.headers["content-length"]).toBe("1234");
});

test("the ignored body of an answer to HEAD does not make it too large to keep", async () => {
  const firstWay = await expectTransparent((_, res) => res.end("x".repeat(100)), HEAD, {
    maxResponseBytes: 10,
  });
  expect(firstWay.runs).toBe(1);
  const secondWay = await expectTransparent(
    (_, res) => {
      res.write("x".repeat(100));
      res.end();
    },
    HEAD,
    { maxResponseBytes: 10 },
  );
  expect(secondWay.runs).toBe(1);
});

test.each<[encoding: BufferEncoding, text: string]>([
  ["utf8", "héllo €😀"],
  ["latin1", "h\u00e9\u00ff"],
  ["hex", "00fffe8041"],
  ["base64", "AP/+gEE="],
  ["base64url", "AP_-gEE"],
  ["utf16le", "h€"],
  ["ucs2", "h€"],
  ["ascii", "abc"],
  ["binary", "\u00ff\u0080"],
])(
  "chunks written and ended in %s arrive as without the middleware, and again",
  async (encoding, text) => {
    const firstWay = await expectTransparent((_, res) => {
      res.write(text, encoding);
      res.write(text, encoding, () => res.end(text, encoding));
    });
    expect(firstWay.runs).toBe(1);
    const secondWay = await expectTransparent((_, res) => res.end(text, encoding));
    expect(secondWay.runs).toBe(1);
  },
);

test("C26: the bytes 00 ff fe 80 41 arrive the same first and replayed, whole and in pieces", async () => {
  const bytes = Buffer.from("00fffe8041", "hex");
  const whole = await expectTransparent((_, res) => res.end(bytes));
  const pieces = await expectTransparent((_, res) => {
    for (const byte of bytes) res.write(Uint8Array.of(byte));
    res.end();
  });

  for (const { first, replay } of [whole, pieces]) {
    expect(first.body).toEqual(bytes);
    expect(replay.body).toEqual(bytes);
  }
});

test("a character split over two chunks arrives whole", async () => {
  const euro = Buffer.from("€");
  const { replay } = await expectTransparent((_, res) => {
    res.write(euro.subarray(0, 1));
    res.end(euro.subarray(1));
  });
  expect(replay.text).toBe("€");
});

test("a buffer may be reused once its write has called back", async () => {
  const shared = new Uint8Array(3);
  const { first } = await expectTransparent(async (_, res) => {
    for (const letter of "abc") {
      shared.fill(letter.charCodeAt(0));
      await new Promise<void>((resolve) => res.write(shared, () => resolve()));
    }
    res.end();
    shared.fill(0);
  });
  expect(first.text).toBe("aaabbbccc");
});

test("a buffer that is reused right after end is neither sent nor stored changed", async () => {
  const shared = Buffer.alloc(4);
  const { listener } = counting((res) => {
    shared.write("mine");
    res.end(shared);
    // Bare, the bytes of a small answer have been handed to the kernel by now.
    shared.fill("!");
  });
  await using server = await serve(listener);

  expect(await server.send({ key: "k" })).toMatchObject({ text: "mine" });
  expect(await server.send({ key: "k" })).toMatchObject({ text: "mine" });
});

test("C25: pipe and pipeline arrive as without the middleware, and again", async () => {
  const parts = ["one ", "two ", "three"];
  const firstWay = await expectTransparent((_, res) => {
    Readable.from(parts).pipe(res);
  });
  expect(firstWay.runs).toBe(1);
  const secondWay = await expectTransparent(async (_, res) => {
    res.setHeader("Content-Type", "text/plain");
    await pipeline(Readable.from(parts), res);
  });
  expect(secondWay.runs).toBe(1);
});

test("pipeline resolves once the response is sent, as without the middleware", async () => {
  const seen = await expectSeenAlike(async (res, note) => {
    await pipeline(Readable.from(["a", "b"]), res);
    note("sent", res.writableEnded, res.writableFinished);
  });
  expect(seen).toEqual([["sent", true, true]]);
});

test("a pipeline whose source fails cuts the connection, and the key is free again", async () => {
  async function* failing() {
    yield "part";
    throw new Error("source failed");
  }
  const { listener, runs } = counting(async (res, run) => {
    if (run === 1) await pipeline(Readable.from(failing()), res);
    else res.end("whole");
  });
  await using server = await serve(listener);

  await expect(server.send({ key: "k" })).rejects.toThrow("socket hang up");
  expect(await server.send({ key: "k" })).toMatchObject({ text: "whole" });
  expect(runs()).toBe(2);
});

test("a piped source that fails leaves the answer to the handler", async () => {
  async function* failing(run: number) {
    if (run === 1) throw new Error("source failed");
    yield "whole";
  }
  const { listener } = counting((res, run) => {
    const source = Readable.from(failing(run));
    source.once("error", () => res.writeHead(502).end("sorry"));
    source.pipe(res);
  });
  await using server = await serve(listener);

  expect(await server.send({ key: "k" })).toMatchObject({ status: 502, text: "sorry" });
  expect(await server.send({ key: "k" })).toMatchObject({ status: 200, text: "whole" });
});

test.each<[name: string, respond: Respond]>([
  [
    "after chunks",
    (res) => {
      res.writeHead(200, { Trailer: "X-Sum, X-List" });
      res.write("body");
      res.addTrailers({ "X-Sum": "1", "X-List": ["a", "b"] as unknown as string });
      res.end();
    },
  ],
  [
    "as pairs",
    (res) => {
      res.write("body");
      res.addTrailers([
        ["X-Sum", "1"],
        ["X-Sum", "2"],
      ]);
      res.end("more");
    },
  ],
  [
    "announced, with a body that comes with the end",
    (res) => {
      res.setHeader("Trailer", "X-Sum");
      res.addTrailers({ "X-Sum": "1" });
      res.end("body");
    },
  ],
  [
    "without a body",
    (res) => {
      res.writeHead(200, { "Transfer-Encoding": "chunked" });
      res.addTrailers({ "X-Sum": "1" });
      res.end();
    },
  ],
  [
    "set twice: the last ones count",
    (res) => {
      res.write("body");
      res.addTrailers({ "X-Old": "1" });
      res.addTrailers({ "X-Sum": "1" });
      res.end();
    },
  ],
  [
    "announced but never set",
    (res) => {
      res.writeHead(200, { Trailer: "X-Sum" });
      res.end("body");
    },
  ],
  [
    "with a length: not sent",
    (res) => {
      res.writeHead(200, { "Content-Length": 4 });
      res.addTrailers({ "X-Sum": "1" });
      res.end("body");
    },
  ],
  [
    "with nothing written before the end: not sent",
    (res) => {
      res.addTrailers({ "X-Sum": "1" });
      res.end("body");
    },
  ],
  [
    "with 204: not sent",
    (res) => {
      res.writeHead(204);
      res.addTrailers({ "X-Sum": "1" });
      res.end();
    },
  ],
])("C25: trailers %s arrive as without the middleware, and again", async (_, respond) => {
  const { runs } = await expectTransparent((_req, res) => respond(res));
  expect(runs).toBe(1);
});

test("trailers set after the end come too late, the first time and on a replay", async () => {
  const { runs } = await expectTransparent((_, res) => {
    res.write("body");
    res.end();
    res.addTrailers({ "X-Late": "1" });
  });
  expect(runs).toBe(1);
});

test("C25: informational responses leave at once, and are not replayed", async () => {
  const { listener } = counting(async (res) => {
    res.writeContinue();
    res.writeProcessing();
    await new Promise<void>((resolve) =>
      res.writeEarlyHints({ link: "</a.css>; rel=preload" }, resolve),
    );
    await hinted;
    res.writeHead(201).end("done");
  });
  await using server = await serve(listener);
  const req = server.open({ key: "k" });
  const hinted = new Promise<void>((resolve) => {
    req.on("information", ({ statusCode }) => {
      if (statusCode === 103) resolve();
    });
  });
  await once(req, "response");

  const replay = await server.send({ key: "k" });
  expect(replay).toMatchObject({ status: 201, text: "done", informational: [] });
});

const progress = (res: ServerResponse) => [
  res.headersSent,
  res.writableEnded,
  res.destroyed,
  res.closed,
];

test.each<[name: string, respond: (res: ServerResponse, note: Note) => unknown]>([
  ["end()", (res) => res.end()],
  ["end(chunk)", (res) => res.end("x")],
  ["end(callback)", (res, note) => res.end(() => note("end called back", ...progress(res)))],
  ["end(chunk, callback)", (res, note) => res.end("x", () => note("end called back"))],
  [
    "end(chunk, encoding, callback)",
    (res, note) => res.end("78", "hex", () => note("end called back")),
  ],
  [
    "write and end",
    (res, note) => {
      note(res.write("a"));
      note("written", ...progress(res));
      res.end("b");
    },
  ],
  [
    "an empty write and end",
    (res, note) => {
      note(res.write(""));
      note("written", ...progress(res));
      res.end();
    },
  ],
  [
    "writeHead and end",
    (res, note) => {
      res.writeHead(201);
      note("head written", ...progress(res));
      res.end();
    },
  ],
])(
  "headersSent, writableEnded, finish and close come as without the middleware: %s",
  async (_, respond) => {
    const seen = await expectSeenAlike((res, note) => {
      for (const event of ["finish", "close"]) res.on(event, () => note(event, ...progress(res)));
      note("before", ...progress(res));
      respond(res, note);
      note("after", ...progress(res));
    });
    expect(seen.map(([name]) => name)).toEqual(
      expect.arrayContaining(["before", "after", "finish", "close"]),
    );
  },
);

test("finished and writableFinished tell when the response is really sent: a server that closes may not take its connection for idle", async () => {
  const seen: unknown[] = [];
  const { listener } = counting((res) => {
    const look = () => seen.push([res.finished, res.writableFinished]);
    res.end("x");
    look();
    res.on("finish", look);
  });
  await using server = await serve(listener);

  await server.send({ key: "k" });
  expect(seen).toEqual([
    [false, false],
    [true, true],
  ]);
});

test.each<[name: string, late: (res: ServerResponse, note: Note) => unknown]>([
  [
    "write",
    (res, note) =>
      note(
        res.write("late", (error) =>
          note(
            "callback",
            codeOf(() => {
              throw error;
            }),
          ),
        ),
      ),
  ],
  [
    "end(chunk)",
    (res, note) =>
      res.end("late", (error?: Error) =>
        note(
          "callback",
          codeOf(() => {
            throw error;
          }),
        ),
      ),
  ],
  ["end(number)", (res) => call(res, "end", 5)],
  ["end()", (res) => res.end()],
  ["write of a number", (res) => call(res, "write", 5)],
  ["setHeader", (res) => res.setHeader("a", "1")],
  ["appendHeader", (res) => res.appendHeader("a", "1")],
  ["setHeaders", (res) => res.setHeaders(new Map([["a", "1"]]))],
  ["removeHeader", (res) => res.removeHeader("a")],
  ["writeHead", (res) => writeHead(res, 500)],
  ["flushHeaders", (res) => res.flushHeaders()],
  ["addTrailers", (res) => res.addTrailers({ a: "1" })],
  [
    "statusCode",
    (res) => {
      res.statusCode = 500;
    },
  ],
])("%s after the end does what it does without the middleware", async (_, late) => {
  const seen = await expectSeenAlike((res, note) => {
    res.on("error", (error: NodeJS.ErrnoException) => note("error", error.code));
    res.writeHead(201).end("x");
    note(
      typeof codeOf(() => late(res, note)) === "string"
        ? codeOf(() => late(res, note))
        : "no throw",
    );
  });
  expect(seen.length).toBeGreaterThan(0);
  const { runs } = await expectTransparent((_req, res) => {
    res.on("error", () => {});
    res.writeHead(201).end("x");
    codeOf(() => late(res, () => {}));
  });
  expect(runs).toBe(1);
});

test.each<[name: string, late: Respond]>([
  ["setHeader", (res) => res.setHeader("a", "1")],
  ["appendHeader", (res) => res.appendHeader("a", "1")],
  ["setHeaders", (res) => res.setHeaders(new Map([["a", "1"]]))],
  ["removeHeader", (res) => res.removeHeader("a")],
  ["writeHead", (res) => writeHead(res, 500)],
])("%s after the head throws as without the middleware", async (_, late) => {
  const seen = await expectSeenAlike((res, note) => {
    res.writeHead(201, { A: "0" });
    note(codeOf(() => late(res)));
    res.write("x");
    note(codeOf(() => late(res)));
    res.end();
  });
  expect(seen).toEqual([["ERR_HTTP_HEADERS_SENT"], ["ERR_HTTP_HEADERS_SENT"]]);
});

test("a second end is ignored; its callback is called as without the middleware", async () => {
  const seen = await expectSeenAlike((res, note) => {
    res.end("x");
    res.end((error?: NodeJS.ErrnoException | null) => note("second", error?.code));
    res.on("close", () =>
      res.end((error?: NodeJS.ErrnoException | null) => note("third", error?.code)),
    );
  });
  expect(seen.map(([name]) => name)).toEqual(["second", "third"]);
});

test("while the response is being stored, late calls are refused as ever; an error that nobody listens for does not take the process down", async () => {
  const storing = deferred();
  const seen: unknown[] = [];
  const { listener } = counting(
    async (res, run) => {
      if (run === 1) {
        res.on("error", (error: NodeJS.ErrnoException) => seen.push(["event", error.code]));
      }
      res.end("x");
      await storing.promise;
      const told = (error?: NodeJS.ErrnoException | null) => seen.push(["callback", error?.code]);
      seen.push(res.write("late", told));
      res.end("late", told);
    },
    {},
    {
      ...memoryStore(),
      set: async () => {
        storing.resolve();
        await new Promise((resolve) => setImmediate(resolve));
        return { state: "stored" };
      },
    },
  );
  await using server = await serve(listener);
  const late = "ERR_STREAM_WRITE_AFTER_END";

  expect(await server.send({ key: "a" })).toMatchObject({ status: 200, text: "x" });
  expect(seen.splice(0)).toEqual([
    false,
    ["callback", late],
    ["event", late],
    ["callback", late],
    ["event", late],
  ]);
  expect(await server.send({ key: "b" })).toMatchObject({ status: 200, text: "x" });
  expect(seen).toEqual([false, ["callback", late], ["callback", late]]);
});

test("a status changed after the head has no effect, first and replayed", async () => {
  const { runs } = await expectTransparent((_, res) => {
    res.writeHead(201, "Made");
    res.statusCode = 500;
    res.statusMessage = "Changed";
    res.end("x");
  });
  expect(runs).toBe(1);
});

test("statusCode and statusMessage read as without the middleware", async () => {
  const seen = await expectSeenAlike((res, note) => {
    note(res.statusCode, res.statusMessage);
    res.writeHead(201);
    note(res.statusCode, res.statusMessage);
    res.end();
    res.on("finish", () => note(res.statusCode, res.statusMessage));
  });
  expect(seen).toEqual([
    [200, undefined],
    [201, "Created"],
    [201, "Created"],
  ]);
});

test("a status and fields set by a writeHead that throws stay, as without the middleware", async () => {
  const seen = await expectSeenAlike((res, note) => {
    res.setHeader("X-A", "1");
    codeOf(() => writeHead(res, 202, { "X-B": "2", "bad name": "3" }));
    note(res.statusCode, res.getHeaders(), res.headersSent);
    res.end();
  });
  expect(seen).toEqual([[202, expect.objectContaining({ "x-a": "1", "x-b": "2" }), false]]);
});

test("a Content-Length that is wrong is put right: what bare Node sends cannot be read whole", async () => {
  const { listener } = counting((res) => res.writeHead(200, { "Content-Length": 2 }).end("abcdef"));
  await using server = await serve(listener);

  for (let i = 0; i < 2; i += 1) {
    expect(await server.send({ key: "k" })).toMatchObject({
      headers: { "content-length": "6" },
      text: "abcdef",
    });
  }
});

test.each([[undefined], ["1"]])(
  "Content-Disposition with a file name beyond ASCII arrives as without the middleware, declared length: %s",
  async (length) => {
    const name = Buffer.from("テスト").toString("latin1");
    const { runs } = await expectTransparent((_, res) => {
      if (length !== undefined) res.setHeader("Content-Length", length);
      res.setHeader("Content-Disposition", `attachment; filename="${name}"`);
      res.end("x");
    });
    expect(runs).toBe(1);
  },
);

test("flushHeaders where there is no body completes nothing before it is stored, and is replayed", async () => {
  const firstWay = await expectTransparent((_, res) => {
    res.writeHead(204, { ETag: '"1"' });
    res.flushHeaders();
    res.end();
  });
  expect(firstWay.runs).toBe(1);
  const secondWay = await expectTransparent((_, res) => {
    res.writeHead(200, { ETag: '"1"' });
    res.flushHeaders();
    res.end("ignored");
  }, HEAD);
  expect(secondWay.runs).toBe(1);
  const thirdWay = await expectTransparent((_, res) => {
    res.writeHead(200, { "Content-Length": 0 });
    res.flushHeaders();
    res.end();
  });
  expect(thirdWay.runs).toBe(1);
});

test.each<[name: string, respond: Respond, sent: Sent]>([
  ["with 204", (res) => res.writeHead(204, { "Content-Type": "text/event-stream" }).end(), {}],
  ["to HEAD", (res) => res.writeHead(200, { "Content-Type": "text/event-stream" }).end(), HEAD],
])("an event stream %s has nothing to stream, and is replayed", async (_, respond, sent) => {
  const { runs } = await expectTransparent((_req, res) => respond(res), sent);
  expect(runs).toBe(1);
});

test("P3: flushHeaders after the end sends nothing before it is stored", async () => {
  const memory = memoryStore();
  const asked = deferred();
  const gate = deferred();
  const set: Store["set"] = async (...args) => {
    asked.resolve();
    await gate.promise;
    return await memory.set(...args);
  };
  const { listener } = counting(
    (res) => {
      if (res.req.url === "/unkeyed") return res.end();
      res.end("x");
      return res.flushHeaders();
    },
    {},
    { ...memory, set },
  );
  await using server = await serve(listener);
  let arrived = false;
  const req = server.open({ key: "k" }).on("response", () => {
    arrived = true;
  });
  const response = once(req, "response");
  await asked.promise;
  await server.send({ path: "/unkeyed" });
  await server.send({ path: "/unkeyed" });

  expect(arrived).toBe(false);
  gate.resolve();
  await response;
});

test("the end's callback is called even where another answer is sent in its place", async () => {
  const called = deferred();
  const set = async () => {
    throw new Error("ECONNREFUSED");
  };
  const { listener } = counting(
    (res) => res.end("x", () => called.resolve()),
    {},
    { ...memoryStore(), set },
  );
  await using server = await serve(listener);

  expect(await server.send({ key: "k" })).toMatchObject({ status: 503 });
  expect(await called.promise).toBeUndefined();
});

test("a response that its handler destroys cuts the connection, and the key is free again", async () => {
  const { listener, errors } = counting((res, run) => {
    if (run > 2) return res.end("third time");
    if (run === 2) res.write("some");
    return res.destroy();
  });
  await using server = await serve(listener);

  await expect(server.send({ key: "k" })).rejects.toThrow("socket hang up");
  await expect(server.send({ key: "k" })).rejects.toThrow("socket hang up");
  expect(await server.send({ key: "k" })).toMatchObject({ text: "third time" });
  expect(errors).toEqual([]);
});

test("C21: a handler that throws before or after it has written gets a 500 problem, and the key is free again", async () => {
  const { listener, errors } = counting((res, run) => {
    if (run === 2) res.writeHead(201, { "X-Half": "done" }).write("half");
    if (run === 1 || run === 2) throw new Error(`boom ${run}`);
    res.end("done");
  });
  await using server = await serve(listener);

  for (const run of [1, 2]) {
    const answer = await server.send({ key: "k" });
    expect(answer).toMatchObject({ status: 500, reason: "Internal Server Error" });
    expect(answer.headers).toMatchObject({ "content-type": "application/problem+json" });
    expect(answer.headers).toHaveProperty("date");
    expect(answer.headers).not.toHaveProperty("x-half");
    expect(JSON.parse(answer.text)).toMatchObject({ code: "HANDLER_FAILED" });
    expect(answer.text).not.toContain("boom");
    expect(errors[run - 1]).toMatchObject({ message: `boom ${run}` });
  }
  expect(await server.send({ key: "k" })).toMatchObject({ status: 200, text: "done" });
});

test("C21: a handler that rejects gets a 500 problem, without the trailers it had set", async () => {
  const { listener } = counting(async (res, run) => {
    res.setHeader("Date", "Thu, 01 Jan 1970 00:00:00 GMT");
    res.addTrailers({ "X-Sum": "1" });
    await Promise.resolve();
    if (run === 1) throw new Error("boom");
    res.end("done");
  });
  await using server = await serve(listener);

  const answer = await server.send({ key: "k" });
  expect(answer).toMatchObject({ status: 500, trailers: {} });
  expect(new Date(answer.headers.date ?? 0).getFullYear()).toBeGreaterThan(2000);
  expect(await server.send({ key: "k" })).toMatchObject({ status: 200, text: "done" });
});

test("C21: a handler that rejects after the end has answered, and its answer is kept", async () => {
  const { listener, errors, runs } = counting(async (res) => {
    res.end("done");
    await Promise.resolve();
    throw new Error("too late");
  });
  await using server = await serve(listener);

  expect(await server.send({ key: "k" })).toMatchObject({ status: 200, text: "done" });
  expect(await server.send({ key: "k" })).toMatchObject({ status: 200, text: "done" });
  expect(errors).toEqual([expect.objectContaining({ message: "too late" })]);
  expect(runs()).toBe(1);
});

test("C27: repeated Set-Cookie fields arrive first, are withheld on a replay, and kept with storeHeaders", async () => {
  const cookies = ["a=1; Path=/", "b=2, with a comma"];
  const respond = (res: ServerResponse) => res.writeHead(200, { "Set-Cookie": cookies }).end();
  await using withholding = await serve(counting(respond).listener);
  await using keeping = await serve(counting(respond, { storeHeaders: ["Set-Cookie"] }).listener);

  expect((await withholding.send({ key: "k" })).headers["set-cookie"]).toEqual(cookies);
  expect((await withholding.send({ key: "k" })).headers["set-cookie"]).toBeUndefined();
  await keeping.send({ key: "k" });
  expect((await keeping.send({ key: "k" })).headers["set-cookie"]).toEqual(cookies);
});

test("C27: fields of the connection and those that Connection names are sent, and not replayed", async () => {
  const fields: OutgoingHttpHeaders = {
    Connection: "close, X-Hop",
    "X-Hop": "1",
    "Keep-Alive": "timeout=9",
    Upgrade: "h2c",
    "X-Kept": "1",
  };
  const { listener } = counting((res) => res.writeHead(200, fields).end("x"));
  await using server = await serve(listener);

  const first = await server.send({ key: "k" });
  const replay = await server.send({ key: "k" });

  expect(first.headers).toMatchObject({ connection: "close, X-Hop", "x-hop": "1", upgrade: "h2c" });
  expect(replay.headers).toMatchObject({ "x-kept": "1", connection: "close" });
  for (const name of ["x-hop", "keep-alive", "upgrade"])
    expect(replay.headers).not.toHaveProperty(name);
});

test("C34: a replay carries Cache-Control: no-store, whatever the first answer said", async () => {
  const { listener } = counting((res) =>
    res.writeHead(200, { "Cache-Control": "public, max-age=60" }).end(),
  );
  await using server = await serve(listener);

  expect((await server.send({ key: "k" })).headers["cache-control"]).toBe("public, max-age=60");
  expect((await server.send({ key: "k" })).headers["cache-control"]).toBe("no-store");
});

test("C33: a client that sends Idempotency-Replayed itself is not believed", async () => {
  const { listener, runs } = counting((res) => res.end("ran"));
  await using server = await serve(listener);

  const first = await server.send({ key: "k", headers: { "Idempotency-Replayed": "true" } });

  expect(first).toMatchObject({ text: "ran" });
  expect(first.headers).not.toHaveProperty("idempotency-replayed");
  expect(runs()).toBe(1);
});

test("fields set before the middleware come fresh on a replay, those of the handler from the store", async () => {
  const safe = idempotency(memoryStore());
  let requests = 0;
  const handled = safe.wrap((_, res) => {
    res.appendHeader("X-Outer-Changed", "by the handler");
    res.setHeader("X-Handler", `of request ${requests}`);
    res.end("x");
  });
  await using server = await serve((req, res) => {
    requests += 1;
    res.setHeader("X-Request-Id", `${requests}`);
    res.setHeader("X-Outer-Changed", `${requests}`);
    handled(req, res);
  });

  const first = await server.send({ key: "k" });
  const replay = await server.send({ key: "k" });

  expect(essence(first).fields).toEqual({
    "X-Request-Id": ["1"],
    "X-Outer-Changed": ["1", "by the handler"],
    "X-Handler": ["of request 1"],
  });
  expect(essence(replay).fields).toEqual({
    "X-Request-Id": ["2"],
    "X-Outer-Changed": ["1", "by the handler"],
    "X-Handler": ["of request 1"],
    "Idempotency-Replayed": ["true"],
    "Cache-Control": ["no-store"],
  });
});

test("a problem in the place of a failed answer keeps the fields set before the middleware", async () => {
  const safe = idempotency(memoryStore(), { onError: () => {} });
  const handled = safe.wrap((_, res) => {
    res.removeHeader("X-Outer");
    throw new Error("boom");
  });
  await using server = await serve((req, res) => {
    res.setHeader("X-Outer", ["1", "2"]);
    handled(req, res);
  });

  expect(essence(await server.send({ key: "k" })).fields).toMatchObject({ "X-Outer": ["1", "2"] });
});

test("onReplay adds fields to a replay, but not to its framing, status or marks", async () => {
  const { listener } = counting((res) => res.writeHead(201, { "X-A": "1" }).end("kept"), {
    onReplay: ({ timestamp }) => ({
      "X-Recorded-At": `${timestamp}`,
      "Content-Length": "1",
      "Transfer-Encoding": "chunked",
      Connection: "close",
      "Idempotency-Replayed": "false",
      "Cache-Control": "public",
    }),
  });
  await using server = await serve(listener);
  const first = await server.send({ key: "k" });
  const replay = await server.send({ key: "k" });

  expect(first.headers).not.toHaveProperty("x-recorded-at");
  expect(replay).toMatchObject({ status: 201, text: "kept" });
  expect(Number(replay.headers["x-recorded-at"])).toBeGreaterThan(0);
  expect(replay.headers).toMatchObject({
    "x-a": "1",
    "content-length": "4",
    "idempotency-replayed": "true",
    "cache-control": "no-store",
  });
  expect(replay.headers).not.toHaveProperty("transfer-encoding");
});

test.each<[name: string, onReplay: () => unknown]>([
  [
    "throws",
    () => {
      throw new Error("typo");
    },
  ],
  ["returns null", () => null],
  ["returns fields that cannot be sent", () => ({ "bad name": "1" })],
  ["returns values that cannot be sent", () => ({ "X-A": "a\nb", "X-B": undefined })],
])("an onReplay that %s leaves the replay as it was", async (_, onReplay) => {
  const { listener, runs } = counting((res) => res.writeHead(201, { "X-Kept": "1" }).end("kept"), {
    onReplay: onReplay as HttpOptions["onReplay"],
  });
  await using server = await serve(listener);
  await server.send({ key: "k" });

  const replay = await server.send({ key: "k" });
  expect(replay).toMatchObject({ status: 201, text: "kept", headers: { "x-kept": "1" } });
  expect(runs()).toBe(1);
});

/** Somebody outside answers the second of two requests while the store is asked for its key. */
function answeredOutside(first: Sent, second: Sent) {
  const memory = memoryStore();
  let locks = 0;
  let outside: ServerResponse | undefined;
  const { listener, runs } = counting(
    (res, run) => res.writeHead(200).end(`run ${run}`),
    {},
    {
      ...memory,
      lock: async (...args) => {
        locks += 1;
        if (locks === 2) outside?.writeHead(504).end("timed out");
        return await memory.lock(...args);
      },
    },
  );
  const answers = async () => {
    await using server = await serve((req, res) => {
      outside = res;
      listener(req, res);
    });
    await server.send(first);
    const answered = await server.send(second);
    return [answered, await server.send(second)] as const;
  };
  return { answers, runs };
}

test("a replay of a response that somebody outside has answered meanwhile leaves it alone", async () => {
  const { answers, runs } = answeredOutside({ key: "k" }, { key: "k" });
  const [answered, again] = await answers();

  expect(answered).toMatchObject({ status: 504, text: "timed out" });
  expect(again).toMatchObject({ status: 200, text: "run 1" });
  expect(runs()).toBe(1);
});

test("a refusal of a request that somebody outside has answered meanwhile leaves it alone", async () => {
  const { answers } = answeredOutside({ key: "k" }, { key: "k", body: "other" });
  const [answered, again] = await answers();

  expect(answered).toMatchObject({ status: 504, text: "timed out" });
  expect(again).toMatchObject({ status: 422 });
});

test("a first response that somebody outside has answered meanwhile is recorded all the same", async () => {
  const { answers, runs } = answeredOutside({ key: "other" }, { key: "k" });
  const [answered, again] = await answers();

  expect(answered).toMatchObject({ status: 504, text: "timed out" });
  expect(again).toMatchObject({ status: 200, text: "run 2" });
  expect(runs()).toBe(2);
});
