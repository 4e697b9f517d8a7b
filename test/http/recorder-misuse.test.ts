/** The recorder: wrong calls and late ones do what they do without the middleware. */
import type { ServerResponse } from "node:http";
import { expect, test } from "vitest";
import { memoryStore } from "../../stores/memory.js";
import { counting, type Respond } from "../support/counting.js";
import { deferred } from "../support/deferred.js";
import { serve } from "../support/http.js";
import { call, writeHead } from "../support/plain-js.js";
import { codeOf, expectSeenAlike, expectTransparent, type Note } from "../support/side-by-side.js";

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
