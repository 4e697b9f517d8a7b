/** The recorder: trailers and informational responses arrive as without the middleware; only the first are replayed. */
import { once } from "node:events";
import { expect, test } from "vitest";
import { counting, type Respond } from "../support/counting.js";
import { serve } from "../support/http.js";
import { expectTransparent } from "../support/side-by-side.js";

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
