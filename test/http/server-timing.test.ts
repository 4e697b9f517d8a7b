/** The option `serverTiming`: what each answer was, and how long it took. */
import { expect, it } from "vitest";
import { idempotency, type Store } from "../../src/index.js";
import { memoryStore } from "../../stores/memory.js";
import { ledgerStore } from "../support/ledger-store.js";
import { serve, type Answer, type Listener } from "../support/http.js";

const created: Listener = (_, res) => res.writeHead(201, { "Server-Timing": "db;dur=5" }).end("x");

function service(handler = created, store: Store = memoryStore(), serverTiming = true) {
  return serve(idempotency(store, { onError: () => {}, serverTiming }).wrap(handler));
}

/** Without the numbers. */
const timing = ({ headers }: Answer) =>
  String(headers["server-timing"]).replaceAll(/\d+\.\d/g, "N");

it("an execution tells both times besides the handler's own, a replay has its own", async () => {
  await using server = await service();
  expect(timing(await server.send({ key: "k" }))).toBe(
    'db;dur=5, idempotency;desc="executed";dur=N, handler;dur=N',
  );
  const replay = await server.send({ key: "k" });
  expect(timing(replay)).toBe('idempotency;desc="replayed";dur=N');
  expect(replay.text).toBe("x");
});

it("refusals and failures tell what they are", async () => {
  await using server = await service((req, res) => {
    if (req.url === "/throws") throw new Error("no funds");
    res.writeHead(req.url === "/fails" ? 503 : 200).end();
  });
  await server.send({ key: "k", body: "1" });
  const told = [
    await server.send({ key: "k", body: "2" }),
    await server.send({ key: "t", path: "/throws" }),
    await server.send({ key: "f", path: "/fails" }),
  ].map(timing);
  expect(told).toEqual([
    'idempotency;desc="KEY_REUSED";dur=N',
    'idempotency;desc="failed";dur=N, handler;dur=N',
    'idempotency;desc="released";dur=N, handler;dur=N',
  ]);
});

it("is not where the head left before, nor where the key or the body could not be read", async () => {
  await using server = await service((_, res) => {
    res.flushHeaders();
    res.end("streamed");
  });
  const streamed = await server.send({ key: "k" });
  expect(streamed.text).toBe("streamed");
  expect(streamed.headers["server-timing"]).toBeUndefined();
  const long = Buffer.alloc(1_048_577);
  const refused = [
    await server.send({ key: "a b" }),
    await server.send({ key: "long", body: long }),
  ];
  expect(refused.map(({ status }) => status)).toEqual([400, 413]);
  for (const { headers } of refused) expect(headers["server-timing"]).toBeUndefined();
  expect(timing(await server.send({ key: "k" }))).toBe(
    'idempotency;desc="RESPONSE_NOT_KEPT";dur=N',
  );
});

it("a committed answer tells it, too", async () => {
  await using server = await service(
    async ({
      idempotency: context,
    }: Parameters<Listener>[0] & {
      idempotency?: { commitWith(writes: unknown[], answer: object): Promise<boolean> };
    }) => {
      await context?.commitWith([], { body: "committed" });
    },
    ledgerStore(),
  );
  expect(timing(await server.send({ key: "k" }))).toMatch(/^idempotency;desc="executed";dur=N/);
});

it("the times are the handler's, and the rest", async () => {
  const store = memoryStore();
  const lock: Store["lock"] = async (...claim) => {
    await new Promise((resolve) => setTimeout(resolve, 40));
    return await store.lock(...claim);
  };
  const slow: Listener = (_, res) => setTimeout(() => res.end(), 80);
  await using server = await service(slow, { ...store, lock });
  const { headers } = await server.send({ key: "k" });
  const [kit = 0, handler = 0] = [
    ...String(headers["server-timing"]).matchAll(/dur=([\d.]+)/g),
  ].map(([, ms]) => Number(ms));
  expect(handler).toBeGreaterThan(70);
  expect(kit).toBeGreaterThan(30);
});

it("is off by default, and then a handler's own is still of one answer", async () => {
  await using server = await service(created, memoryStore(), false);
  expect(timing(await server.send({ key: "k" }))).toBe("db;dur=5");
  expect((await server.send({ key: "k" })).headers["server-timing"]).toBeUndefined();
});
