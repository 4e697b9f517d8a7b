/** C21: a handler that fails, or breaks its response off, leaves its key free. */
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { expect, test } from "vitest";
import { idempotency } from "../../src/index.js";
import { memoryStore } from "../../stores/memory.js";
import { counting } from "../support/counting.js";
import { serve } from "../support/http.js";
import { essence } from "../support/side-by-side.js";

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

test("a response that nothing can be sent on, because somebody outside broke it, is cut; the process goes on", async () => {
  const errors: unknown[] = [];
  const safe = idempotency(memoryStore(), { onError: (error) => void errors.push(error) });
  const handler = safe.wrap((_req, res) => res.end("paid"));
  await using server = await serve((req, res) => {
    if (req.url === "/broken") {
      res.end = () => {
        throw new Error("broken outside");
      };
    }
    handler(req, res);
  });

  for (const key of [undefined, "k"]) {
    const sent = server.send({ path: "/broken", ...(key !== undefined && { key }) });
    await expect(sent).rejects.toThrow("socket hang up");
  }

  expect(errors).toMatchObject(Array.from({ length: 4 }, () => ({ message: "broken outside" })));
  expect(await server.send({ key: "other" })).toMatchObject({ text: "paid" });
});
