/** What a replay carries: the handler's fields, but none of a connection, of the client, or of what stands around the middleware. */
import type { OutgoingHttpHeaders, ServerResponse } from "node:http";
import { expect, test } from "vitest";
import { idempotency, type HttpOptions } from "../../src/index.js";
import { memoryStore } from "../../stores/memory.js";
import { counting } from "../support/counting.js";
import { listen } from "../support/events.js";
import { serve, type Sent } from "../support/http.js";
import { essence } from "../support/side-by-side.js";

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

test("an onReplay that throws is told of, once for each replay", async () => {
  using events = listen();
  const { listener } = counting((res) => res.writeHead(201).end("kept"), {
    onReplay: () => {
      throw new Error("typo");
    },
  });
  await using server = await serve(listener);
  for (let turn = 0; turn < 3; turn += 1) await server.send({ key: "k" });

  const failed = { type: "hook-failed", hook: "onReplay", error: new Error("typo") };
  expect(events.all).toMatchObject([failed, failed]);
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
