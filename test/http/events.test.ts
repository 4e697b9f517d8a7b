/** What listeners are told, and what they are not. */
import { tracingChannel } from "node:diagnostics_channel";
import { expect, test, vi } from "vitest";
import { traceRequest } from "../../src/events.js";
import {
  idempotency,
  REQUEST_CHANNEL,
  STORE_CHANNEL,
  type RequestTrace,
  type StoreTrace,
} from "../../src/index.js";
import { memoryStore } from "../../stores/memory.js";
import { listen } from "../support/events.js";
import { serve } from "../support/http.js";

/** Collects the contexts of a tracing channel as they end. */
function trace<C extends RequestTrace | StoreTrace>(name: string): { ended: C[] } & Disposable {
  const ended: C[] = [];
  const channel = tracingChannel<C, C>(name);
  const subscribers = {
    asyncEnd: (context: C) => {
      ended.push({ ...context });
    },
  } as unknown as Parameters<typeof channel.subscribe>[0];
  channel.subscribe(subscribers);
  return {
    ended,
    [Symbol.dispose]: () => {
      channel.unsubscribe(subscribers);
    },
  };
}

test("each keyed request is traced with its outcome and time, each store call with its result", async () => {
  using requests = trace<RequestTrace>(REQUEST_CHANNEL);
  using calls = trace<StoreTrace>(STORE_CHANNEL);
  const statuses = [201, 500];
  const safe = idempotency(memoryStore(), { onError: () => {} });
  await using server = await serve(
    safe.wrap((req, res) => {
      if (req.url === "/throws") throw new Error("no funds");
      res.writeHead(statuses.shift() ?? 200).end();
    }),
  );

  await server.send({ key: "secret-key", body: "secret-body" });
  await server.send({ key: "secret-key", body: "secret-body" });
  await server.send({ key: "secret-key", body: "other" });
  await server.send({ key: "k2" });
  await server.send({ key: "k3", path: "/throws" });
  await server.send();

  expect(requests.ended.map(({ outcome, code }) => [outcome, code])).toEqual([
    ["executed", undefined],
    ["replayed", undefined],
    ["refused", "KEY_REUSED"],
    ["released", undefined],
    ["failed", undefined],
  ]);
  expect(calls.ended.map(({ operation, outcome }) => `${operation}: ${outcome}`)).toEqual([
    "lock: acquired",
    "set: stored",
    "lock: completed",
    "lock: completed",
    "lock: acquired",
    "unlock: unlocked",
    "lock: acquired",
    "unlock: unlocked",
  ]);
  for (const { durationMs } of [...requests.ended, ...calls.ended]) {
    expect(durationMs).toBeGreaterThanOrEqual(0);
  }
  expect(new Set(requests.ended.map(({ key }) => key)).size).toBe(3);
  expect(JSON.stringify([requests.ended, calls.ended])).not.toMatch(/secret/);
});

test("P9: events carry hashed keys, and nothing of what a client sent", async () => {
  using events = listen();
  const safe = idempotency(memoryStore(), { onError: () => {}, maxResponseBytes: 20 });
  await using server = await serve(
    safe.wrap((req, res) => {
      if (req.url === "/throws") throw new Error("no funds");
      res
        .writeHead(req.url === "/fails" ? 500 : 201)
        .end("x".repeat(req.url === "/large" ? 21 : 1));
    }),
  );
  for (const path of ["/throws", "/fails", "/large"]) {
    await server.send({
      key: `secret-key${path}`,
      path,
      body: "secret-body",
      headers: { Authorization: "Bearer secret-token" },
    });
  }

  expect(events.types).toEqual(["released", "released", "tombstoned"]);
  expect(JSON.stringify(events.all)).not.toMatch(/secret/);
  for (const { key } of events.all) expect(key).toMatch(/^[\w-]{43}$/);
});

test("a store call that fails is traced with its error", async () => {
  const errors: unknown[] = [];
  const channel = tracingChannel<StoreTrace, StoreTrace>(STORE_CHANNEL);
  const subscribers = {
    error: (context: StoreTrace & { error?: unknown }) => errors.push(context.error),
  } as unknown as Parameters<typeof channel.subscribe>[0];
  channel.subscribe(subscribers);
  const lock = async () => {
    throw new Error("ECONNREFUSED");
  };
  const safe = idempotency({ ...memoryStore(), lock }, { onError: () => {} });
  await using server = await serve(safe.wrap((_, res) => res.end()));

  await server.send({ key: "k" });
  channel.unsubscribe(subscribers);

  expect(errors).toEqual([expect.objectContaining({ code: "STORE_UNAVAILABLE" })]);
});

test("nothing is computed while nobody listens", async () => {
  const describe = vi.fn<() => { outcome: "executed" }>(() => ({ outcome: "executed" }));
  const run = async () => await traceRequest("key", async () => "answer", describe);

  expect(await run()).toBe("answer");
  expect(describe).not.toHaveBeenCalled();

  using requests = trace<RequestTrace>(REQUEST_CHANNEL);
  expect(await run()).toBe("answer");
  expect(describe).toHaveBeenCalledOnce();
  expect(requests.ended).toMatchObject([{ key: "key", outcome: "executed" }]);
});
