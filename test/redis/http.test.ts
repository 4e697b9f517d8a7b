/** Express and plain `http` on Redis, end to end. */
import { randomBytes, randomUUID } from "node:crypto";
import type { RequestListener } from "node:http";
import express from "express";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { startRedis, type RedisNode } from "../../infra/services/redis.js";
import {
  idempotency,
  type IdempotencyMiddleware,
  type IdempotentRequest,
  type Store,
} from "../../src/index.js";
import { redisStore } from "../../stores/redis.js";
import { deferred } from "../support/deferred.js";
import { listen } from "../support/events.js";
import { send, serve, type Answer } from "../support/http.js";
import { connected } from "./clients.js";

// For machines that are slow; what hangs is still found.
vi.setConfig({ testTimeout: 30_000 });

let node: RedisNode;

beforeAll(async () => {
  node = await startRedis();
});
afterAll(() => node.close());

type Handler = (req: IdempotentRequest, res: Parameters<RequestListener>[1]) => unknown;
type Door = (safe: IdempotencyMiddleware, handler: Handler) => RequestListener;

const DOORS: Readonly<Record<string, Door>> = {
  "plain http": (safe, handler) => safe.wrap(handler),
  "Express 5": (safe, handler) => express().use(safe).post("/", handler) as RequestListener,
};
const doors = Object.entries(DOORS);

/** With a connection of its own, as every process has. */
async function newStore(): Promise<Store> {
  return redisStore(await connected(node.port));
}

describe.each(doors)("%s", (_, open) => {
  test("a retry gets the same bytes and runs nothing; another body is another request", async () => {
    let runs = 0;
    const safe = idempotency(await newStore());
    await using server = await serve(
      open(safe, (_req, res) => {
        runs += 1;
        res.writeHead(201, { "Content-Type": "text/plain", "X-Run": runs }).end(randomUUID());
      }),
    );
    const key = randomUUID();

    const first = await server.send({ key, body: "pay" });
    const retry = await server.send({ key, body: "pay" });

    expect(first.status).toBe(201);
    expect(retry).toMatchObject({ status: 201, body: first.body, reason: first.reason });
    expect(retry.headers).toMatchObject({
      "content-type": "text/plain",
      "x-run": "1",
      "idempotency-replayed": "true",
    });
    expect(await server.send({ key, body: "pay more" })).toMatchObject({ status: 422 });
    expect(runs).toBe(1);
  });

  test("a body of 1 MiB of any bytes comes back the same, again and again", async () => {
    const [sent, made] = [randomBytes(2 ** 20), randomBytes(2 ** 20)];
    let received: Buffer | undefined;
    const safe = idempotency(await newStore());
    await using server = await serve(
      open(safe, async (req, res) => {
        const chunks: Buffer[] = [];
        for await (const chunk of req) chunks.push(chunk as Buffer);
        received = Buffer.concat(chunks);
        res.writeHead(200, { "Content-Type": "application/octet-stream" }).end(made);
      }),
    );
    const key = randomUUID();

    for (let attempt = 0; attempt < 3; attempt += 1) {
      const { status, body, headers } = await server.send({ key, body: sent });
      expect({ status, replayed: headers["idempotency-replayed"] }).toEqual({
        status: 200,
        replayed: attempt === 0 ? undefined : "true",
      });
      expect(body.equals(made)).toBe(true);
    }
    expect(received?.equals(sent)).toBe(true);
  });

  test("a handler of three leases keeps its key by renewals, and a duplicate gets 409 all the while", async () => {
    using events = listen();
    const leaseMs = 300;
    const [first, last] = [deferred(), deferred()];
    let renewals = 0;
    const store = await newStore();
    const extend: Store["extend"] = async (...args) => {
      const held = await store.extend(...args);
      if (held) renewals += 1;
      // Three in each lease: after the fourth, the first lease is over.
      if (renewals === 4) first.resolve();
      if (renewals === 9) last.resolve();
      return held;
    };
    let runs = 0;
    const safe = idempotency({ ...store, extend }, { leaseMs });
    await using server = await serve(
      open(safe, async (_req, res) => {
        runs += 1;
        await last.promise;
        res.writeHead(201).end("made");
      }),
    );
    const key = randomUUID();
    const started = performance.now();

    const answer = server.send({ key });
    await first.promise;
    expect(await server.send({ key })).toMatchObject({ status: 409 });
    await last.promise;
    expect(await answer).toMatchObject({ status: 201, text: "made" });

    expect(performance.now() - started).toBeGreaterThan(3 * leaseMs - 20);
    expect(await server.send({ key })).toMatchObject({ status: 201, text: "made" });
    expect(runs).toBe(1);
    expect(events.types).not.toContain("lease-lost");
  });
});

test("500 requests at once for 50 keys, at two servers: 50 runs, and one answer for each key", async () => {
  const [keys, duplicates] = [50, 10];
  const allArrived = deferred();
  let arrived = 0;
  const runs = new Map<string, number>();
  const servers = await Promise.all(
    doors.map(async ([, open]) => {
      const safe = idempotency(await newStore(), { onConflict: "wait" });
      const listener = open(safe, async (req, res) => {
        const key = req.idempotency?.key ?? "";
        runs.set(key, (runs.get(key) ?? 0) + 1);
        await allArrived.promise;
        res.writeHead(201, { "Content-Type": "application/octet-stream" }).end(randomBytes(512));
      });
      return await serve((req, res) => {
        arrived += 1;
        if (arrived === keys * duplicates) allArrived.resolve();
        listener(req, res);
      });
    }),
  );
  const names = Array.from({ length: keys }, () => randomUUID());
  const answers = new Map<string, Answer[]>(names.map((key) => [key, []]));

  await Promise.all(
    names.flatMap((key) =>
      Array.from({ length: duplicates }, async (_unused, at) => {
        answers.get(key)?.push(await send(servers[at % 2]?.port ?? 0, { key }));
      }),
    ),
  );
  await Promise.all(servers.map((server) => server[Symbol.asyncDispose]()));

  expect([...runs.values()]).toEqual(names.map(() => 1));
  for (const same of answers.values()) {
    expect(same.map(({ status }) => status)).toEqual(same.map(() => 201));
    expect(new Set(same.map(({ body }) => body.toString("hex"))).size).toBe(1);
    expect(same.filter(({ headers }) => !("idempotency-replayed" in headers))).toHaveLength(1);
  }
});

test("of a holder that died its successor is not told: the key is empty then", async () => {
  const [dead, living] = [await newStore(), await newStore()];
  const [key, leaseMs] = [randomUUID(), 100];
  await dead.lock(key, "f", leaseMs);
  await vi.waitFor(async () => {
    const claim = await living.lock(key, "f", 5_000);
    expect(claim).toMatchObject({ state: "acquired" });
    expect(claim).not.toHaveProperty("takeover");
  });
});
