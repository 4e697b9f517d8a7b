/** A holder in a real process that is stopped past its lease, or killed, and the successor that comes meanwhile. */
import { randomUUID } from "node:crypto";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, onTestFinished, test, vi } from "vitest";
import { launch } from "../../infra/services/process.js";
import { startRedis, type RedisNode } from "../../infra/services/redis.js";
import { idempotency } from "../../src/index.js";
import { redisStore } from "../../stores/redis.js";
import { deferred } from "../support/deferred.js";
import { send, serve } from "../support/http.js";
import { connected } from "./clients.js";

const HOLDER = fileURLToPath(new URL("holder.mjs", import.meta.url));
const BUILT = fileURLToPath(new URL("../../dist/stores/redis.js", import.meta.url));
const LEASE_MS = 600;

// For machines that are slow; what hangs is still found.
vi.setConfig({ testTimeout: 30_000 });

let node: RedisNode;

beforeAll(async () => {
  if (!existsSync(BUILT)) throw new Error(`${BUILT} is missing: run \`npm run build\` first.`);
  node = await startRedis();
});
afterAll(() => node.close());

/** A holder whose handler runs, and the answer to the request that it handles. */
async function startHolder(key: string) {
  const child = await launch({
    command: process.execPath,
    args: [HOLDER],
    readyWhen: /port \d+/,
    env: { REDIS_URL: node.url, LEASE_MS: String(LEASE_MS) },
  });
  onTestFinished(async () => {
    child.resume();
    await child.kill();
  });
  const port = Number(/port (\d+)/.exec(child.output())?.[1]);
  const answer = send(port, { key });
  await send(port, { method: "GET", path: "/started" });
  const finish = () => send(port, { method: "GET", path: "/finish" });
  return { child, answer, finish, retry: () => send(port, { key }) };
}

/** Another server on the same Redis, whose requests wait for their turn. */
async function startSuccessor(before?: () => Promise<void>) {
  const safe = idempotency(redisStore(await connected(node.port)), {
    leaseMs: 10 * LEASE_MS,
    onConflict: "wait",
  });
  const server = await serve(
    safe.wrap(async (_req, res) => {
      await before?.();
      res.writeHead(201).end("by the successor");
    }),
  );
  onTestFinished(() => server[Symbol.asyncDispose]());
  return server;
}

const FIRST = { status: 201, text: "by the holder" };
const SECOND = { status: 201, text: "by the successor" };

test("P5: a holder stopped past its lease answers with what its successor has stored, and that stands", async () => {
  const key = randomUUID();
  const { child, answer, finish, retry } = await startHolder(key);
  const successor = await startSuccessor();

  await child.stop();
  expect(await successor.send({ key })).toMatchObject(SECOND);
  child.resume();
  await finish();

  const late = await answer;
  expect(late).toMatchObject(SECOND);
  expect(late.headers["idempotency-replayed"]).toBe("true");
  expect(await retry()).toMatchObject(SECOND);
  expect(await successor.send({ key })).toMatchObject(SECOND);
});

test("P5: while the successor still runs, the late holder gets 503, and changes nothing for it", async () => {
  const key = randomUUID();
  const { child, answer, finish, retry } = await startHolder(key);
  const [running, gate] = [deferred(), deferred()];
  const successor = await startSuccessor(async () => {
    running.resolve();
    await gate.promise;
  });

  await child.stop();
  const second = successor.send({ key });
  await running.promise;
  child.resume();
  await finish();
  const late = await answer;
  gate.resolve();

  expect(late.status).toBe(503);
  expect(JSON.parse(late.text)).toMatchObject({ code: "LEASE_LOST" });
  expect(await second).toMatchObject(SECOND);
  expect(await retry()).toMatchObject(SECOND);
});

test("a holder stopped past its lease stores its own response where nobody came", async () => {
  const key = randomUUID();
  const { child, answer, finish, retry } = await startHolder(key);

  await child.stop();
  // Instead of waiting for it: the server's own end of every lease.
  await node.command("FLUSHALL");
  child.resume();
  await finish();

  expect(await answer).toMatchObject(FIRST);
  expect(await retry()).toMatchObject(FIRST);
});

test("P4: the key of a holder that was killed is free after its lease", async () => {
  const key = randomUUID();
  const { child, answer } = await startHolder(key);
  const cut = answer.then(() => "answered", String);
  const successor = await startSuccessor();

  await child.kill();
  expect(await cut).toMatch(/socket hang up|ECONNRESET/);

  expect(await successor.send({ key })).toMatchObject(SECOND);
});
