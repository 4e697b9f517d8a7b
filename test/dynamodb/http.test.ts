/** Express and plain `http` on DynamoDB, end to end. */
import { randomBytes, randomUUID } from "node:crypto";
import type { RequestListener } from "node:http";
import express from "express";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import {
  idempotency,
  type IdempotencyMiddleware,
  type IdempotentRequest,
} from "../../src/index.js";
import { storageKey } from "../../src/key.js";
import { deferred } from "../support/deferred.js";
import { listen } from "../support/events.js";
import { serve } from "../support/http.js";
import { end, itemAt, openStage, operation, proxyTo, storeOn, urlOf, type Stage } from "./stage.js";

vi.setConfig({ testTimeout: 60_000, hookTimeout: 120_000 });

let stage: Stage;

beforeAll(async () => {
  stage = await openStage();
});
afterAll(() => stage.close());

type Handler = (req: IdempotentRequest, res: Parameters<RequestListener>[1]) => unknown;
type Door = (safe: IdempotencyMiddleware, handler: Handler) => RequestListener;

const DOORS: Readonly<Record<string, Door>> = {
  "plain http": (safe, handler) => safe.wrap(handler),
  "Express 5": (safe, handler) => express().use(safe).post("/", handler) as RequestListener,
};

/** The store is as patient as a slow machine needs it, and the protocol waits for it. */
const PATIENT = { leaseMs: 60_000, storeTimeoutMs: 20_000, onError: () => undefined };

describe.each(Object.entries(DOORS))("%s", (_, open) => {
  test.each([
    ["100 bytes", 100],
    ["900 KB", 900_000],
  ])(
    "a retry gets the same %s and runs nothing; another body is another request",
    async (_size, bytes) => {
      let runs = 0;
      const safe = idempotency(storeOn(stage), PATIENT);
      await using server = await serve(
        open(safe, (_req, res) => {
          runs += 1;
          res
            .writeHead(201, { "Content-Type": "text/plain", "X-Run": runs })
            .end(randomBytes(bytes));
        }),
      );
      const key = randomUUID();

      const first = await server.send({ key, body: "pay" });
      const retry = await server.send({ key, body: "pay" });

      expect(first.status).toBe(201);
      expect(retry).toMatchObject({ status: 201, reason: first.reason });
      expect(Buffer.compare(retry.body, first.body)).toBe(0);
      expect(retry.headers).toMatchObject({ "x-run": "1", "idempotency-replayed": "true" });
      expect(await server.send({ key, body: "pay more" })).toMatchObject({ status: 422 });
      expect(runs).toBe(1);
    },
  );

  test("of 50 requests at once over two processes' stores one runs", async () => {
    let runs = 0;
    const gate = deferred();
    const listener = () =>
      open(idempotency(storeOn(stage), PATIENT), async (_req, res) => {
        runs += 1;
        await gate.promise;
        res.writeHead(201).end("paid");
      });
    await using one = await serve(listener());
    await using other = await serve(listener());
    const key = randomUUID();

    const answers = Array.from({ length: 50 }, (_each, at) => (at % 2 ? one : other).send({ key }));
    // The first runs until another one has been refused.
    await Promise.any(
      answers.map(async (answer) => {
        if ((await answer).status !== 409) throw new Error("It was not refused.");
      }),
    );
    gate.resolve();

    const statuses = (await Promise.all(answers)).map(({ status }) => status);
    expect(statuses.filter((status) => status !== 201 && status !== 409)).toEqual([]);
    expect(statuses).toContain(201);
    expect(runs).toBe(1);
  });
});

test("a response whose set got no reply is answered 201, because the repetition found it stored", async () => {
  const proxy = await proxyTo(stage);
  let runs = 0;
  const safe = idempotency(storeOn(stage, { endpoint: urlOf(proxy) }), PATIENT);
  await using server = await serve(
    safe.wrap((_req, res) => res.writeHead(201).end(`run ${(runs += 1)}`)),
  );
  const cut = proxy.cutAfterRequest(operation("PutItem"));
  const key = randomUUID();

  expect(await server.send({ key })).toMatchObject({ status: 201, text: "run 1" });

  await cut;
  expect(await server.send({ key })).toMatchObject({ status: 201, text: "run 1" });
  expect(runs).toBe(1);
});

test("a handler that outlived its lease answers with its successor's result, and an event tells of the takeover", async () => {
  using events = listen();
  const [started, gate] = [deferred(), deferred()];
  let runs = 0;
  const safe = idempotency(storeOn(stage), PATIENT);
  await using server = await serve(
    safe.wrap(async (_req, res) => {
      const run = (runs += 1);
      if (run === 1) {
        started.resolve();
        await gate.promise;
      }
      res.writeHead(201).end(`run ${run}`);
    }),
  );
  const key = randomUUID();
  const first = server.send({ key });
  await started.promise;
  const takeover = events.next("takeover");
  await end(stage, storageKey(key, undefined));

  expect(await server.send({ key })).toMatchObject({ status: 201, text: "run 2" });
  await takeover;
  gate.resolve();

  expect(await first).toMatchObject({ status: 201, text: "run 2" });
  expect(await itemAt(stage, storageKey(key, undefined))).toMatchObject({
    state: { S: "completed" },
  });
});
