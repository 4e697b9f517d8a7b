/** The recorder: a body arrives as without the middleware, the first time and on every replay. */
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { expect, test } from "vitest";
import { counting } from "../support/counting.js";
import { serve, type Sent } from "../support/http.js";
import { expectSeenAlike, expectTransparent } from "../support/side-by-side.js";

const HEAD: Sent = { method: "HEAD" };

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
