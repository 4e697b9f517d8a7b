/** The recorder: what a handler is told of its response's end comes as without the middleware, and nothing is sent before it is stored. */
import { once } from "node:events";
import type { ServerResponse } from "node:http";
import { expect, test } from "vitest";
import type { Store } from "../../src/index.js";
import { memoryStore } from "../../stores/memory.js";
import { counting, type Respond } from "../support/counting.js";
import { deferred } from "../support/deferred.js";
import { serve, type Sent } from "../support/http.js";
import { expectSeenAlike, expectTransparent, type Note } from "../support/side-by-side.js";

const HEAD: Sent = { method: "HEAD" };

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
