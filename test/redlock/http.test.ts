/** End to end on three masters: plain `http` and Express 5. */
import type { RequestListener } from "node:http";
import express from "express";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startMasters, type RedisMasters } from "../../infra/services/redis.js";
import { idempotency, type IdempotencyMiddleware } from "../../src/index.js";
import { connectRedis, ready } from "../../stores/redis.js";
import { redlockStore } from "../../stores/redlock.js";
import { serve } from "../support/http.js";
import { proxied, three } from "./stage.js";

let masters: RedisMasters;
beforeAll(async () => {
  masters = await startMasters(3);
});
afterAll(() => masters.close());

function payments(safe: IdempotencyMiddleware): Record<string, RequestListener> {
  let runs = 0;
  const application = express();
  application.post("/express", safe, express.json(), (req, res) => {
    runs += 1;
    res.status(201).json({ run: runs, ...req.body });
  });
  const plain = safe.wrap((_, res) => {
    runs += 1;
    res.writeHead(201).end(JSON.stringify({ run: runs }));
  });
  return { "plain http": plain, "Express 5": application };
}

test.each(["plain http", "Express 5"])(
  "%s: of twenty duplicates over two processes' worth of stores, one runs, and all get its answer",
  async (framework) => {
    const clients = masters.urls.map((url) => connectRedis(url));
    await Promise.all(clients.map((client) => ready(client)));
    try {
      const safe = () =>
        idempotency(redlockStore(clients, { onReport: () => {} }), { onConflict: "wait" });
      const [one, two] = [payments(safe())[framework], payments(safe())[framework]];
      await using first = await serve(one as RequestListener);
      await using second = await serve(two as RequestListener);
      const sent = {
        path: "/express",
        key: `k-${framework.length}`,
        body: '{"amount":1999}',
        headers: { "Content-Type": "application/json" },
      };

      const answers = await Promise.all(
        Array.from({ length: 20 }, (_, i) => (i % 2 === 0 ? first : second).send(sent)),
      );

      expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([201]));
      expect(new Set(answers.map(({ text }) => text)).size).toBe(1);
      const replays = answers.filter(({ headers }) => headers["idempotency-replayed"] === "true");
      expect(replays).toHaveLength(19);
    } finally {
      for (const client of clients) client.disconnect();
    }
  },
);

test("with one node gone, a response that only one other got is stored as soon as the second is back", async () => {
  const { store, proxies, ready: allReady } = await proxied(masters.nodes);
  const [, second, third] = three(proxies);
  await third.refuse();
  const safe = idempotency(store, { leaseMs: 1_200, onError: () => {} });
  let runs = 0;
  const handler = safe.wrap(async (_, res) => {
    runs += 1;
    await second.refuse();
    res.writeHead(201).end(`run ${runs}`);
  });
  await using server = await serve(handler);

  expect(await server.send({ key: "partly" })).toMatchObject({ status: 503 });
  await second.heal();

  const replay = async () => await server.send({ key: "partly" });
  await expect.poll(replay, { timeout: 10_000 }).toMatchObject({ status: 201, text: "run 1" });
  await third.heal();
  await allReady();
  await safe.drain();
});
