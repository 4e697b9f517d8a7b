/** A master dies or hangs under a stream of requests, on Sentinel and on Redis Cluster: 503 meanwhile, then all is well. */
import { randomUUID } from "node:crypto";
import { setTimeout as pause } from "node:timers/promises";
import { test, vi } from "vitest";
import { startCluster, startSentinel, type RedisNode } from "../../infra/services/redis.js";
import { idempotency, type Store } from "../../src/index.js";
import { connectRedis, ready, redisStore } from "../../stores/redis.js";
import { serve, type TestServer } from "../support/http.js";
import { eventually } from "./clients.js";

// Each test has five or six servers of its own.
vi.setConfig({ maxConcurrency: 2 });

/** Of one store call. A request makes two of them at most before it is answered; a busy machine may add to that. */
const STORE_TIMEOUT_MS = 1_000;
const LONGEST_ANSWER_MS = 2 * STORE_TIMEOUT_MS + 1_000;
/** Servers find a master dead after half a second to one, and elect another within two; the rest is for slow machines. */
const RECOVERY_MS = 15_000;
const CLIENTS = 4;

/** All keys in one slot, so that it is everybody's master that fails. */
const PREFIX = "{failover}:";

interface Topology {
  readonly url: string;
  readonly master: () => Promise<RedisNode>;
  readonly close: () => Promise<void>;
}

const STARTERS: Readonly<Record<string, () => Promise<Topology>>> = {
  Sentinel: async () => {
    const sentinel = await startSentinel();
    return {
      url: sentinel.url,
      master: () => sentinel.master(),
      close: () => sentinel.close(),
    };
  },
  "Redis Cluster": async () => {
    const cluster = await startCluster();
    return {
      url: cluster.url,
      master: () => cluster.masterOf(PREFIX),
      close: () => cluster.close(),
    };
  },
};

const FAULTS: Readonly<Record<string, (master: RedisNode) => Promise<void>>> = {
  killed: (master) => master.kill(),
  stopped: (master) => master.stop(),
};

const CASES = Object.keys(STARTERS).flatMap((topology) =>
  Object.keys(FAULTS).map((fault) => [topology, fault] as const),
);

test.concurrent.for(CASES)(
  "%s, master %s: requests fail closed and in time, then recover by themselves; what was replicated is replayed",
  { timeout: 60_000 },
  async ([topology, fault], { expect, onTestFinished }) => {
    const { url, master, close } = await (STARTERS[topology] as () => Promise<Topology>)();
    const client = connectRedis(url);
    onTestFinished(async () => {
      client.disconnect();
      await close();
    });
    await ready(client);
    await using server = await serve(counting(redisStore(client, { prefix: PREFIX })));
    await using careful = await serve(
      counting(redisStore(client, { prefix: PREFIX, minReplicas: 1 })),
    );
    // A replica that has just joined may need longer than this store waits for it.
    await eventually(async () => (await careful.send({ key: "replicated" })).status === 201);
    const replicated = await careful.send({ key: "replicated" });
    const failing = await master();

    await FAULTS[fault]?.(failing);
    const answers = await requestsUntilRecovery(server);

    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([201, 503]));
    expect(Math.max(...answers.map(({ tookMs }) => tookMs))).toBeLessThan(LONGEST_ANSWER_MS);
    expect(answers.every(({ status, retryAfter }) => (status === 503) === retryAfter > 0)).toBe(
      true,
    );
    await eventually(async () => (await master()) !== failing);
    const replay = await server.send({ key: "replicated" });
    expect(replay).toMatchObject({ status: 201, text: replicated.text });
    expect(replay.headers["idempotency-replayed"]).toBe("true");

    // The old master comes back with what lies in its buffers, and with what it believes.
    if (fault === "stopped") failing.resume();
    else await failing.restart({ keepData: true });
    expect(await server.send({ key: "replicated" })).toMatchObject({ text: replicated.text });
    // Sentinels take ten seconds to make it a replica, which then confirms what is written.
    if (topology === "Sentinel") return;
    await eventually(async () => (await careful.send({ key: "afterwards" })).status === 201);
  },
);

interface Answered {
  readonly status: number;
  readonly retryAfter: number;
  readonly tookMs: number;
}

/** Several clients, each with one new request after the other, until everyone's last one has succeeded after a failure. */
async function requestsUntilRecovery(server: TestServer): Promise<Answered[]> {
  const deadline = performance.now() + RECOVERY_MS;
  const answers: Answered[] = [];
  const client = async (): Promise<void> => {
    for (let failed = false; ;) {
      const started = performance.now();
      if (started > deadline) throw new Error(`No recovery within ${RECOVERY_MS} ms.`);
      const { status, headers } = await server.send({ key: randomUUID() });
      const tookMs = performance.now() - started;
      answers.push({ status, retryAfter: Number(headers["retry-after"] ?? 0), tookMs });
      if (status === 503) failed = true;
      else if (failed) return;
      await pause(10);
    }
  };
  await Promise.all(Array.from({ length: CLIENTS }, client));
  return answers;
}

function counting(store: Store) {
  let runs = 0;
  const safe = idempotency(store, { storeTimeoutMs: STORE_TIMEOUT_MS, onError: () => undefined });
  return safe.wrap((_, res) => res.writeHead(201).end(`run ${(runs += 1)} ${randomUUID()}`));
}
