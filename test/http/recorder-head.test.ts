/** The recorder: a head arrives as without the middleware, the first time and on every replay. */
import { expect, test } from "vitest";
import { counting, type Respond } from "../support/counting.js";
import { serve } from "../support/http.js";
import { writeHead } from "../support/plain-js.js";
import { codeOf, essence, expectSeenAlike, expectTransparent } from "../support/side-by-side.js";

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
