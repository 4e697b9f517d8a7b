/** Four processes, thousands of duplicates, and every second one of three masters is killed: the history must be clean. */
import { setTimeout as sleep } from "node:timers/promises";
import { expect, onTestFinished, test } from "vitest";
import { startMasters, type RedisMasters } from "../../infra/services/redis.js";
import { storageKey } from "../../src/key.js";
import { startServer, type PaymentServer, type Report } from "./servers.js";

const PROCESSES = 4;
const KEYS = 200;
const DUPLICATES = 20;

/** New keys come over this time, so that every death meets some of them; the duplicates of one within a part of it. */
const WORKLOAD_MS = 10_000;
const DUPLICATES_MS = 1_000;

const KILL_EVERY_MS = 1_000;
const DEAD_FOR_MS = 300;

/** Real clients give up; with one node down at a time none has to. */
const MAX_TRIES = 100;

/**
 * An execution that follows one of these is allowed, and not silent. The last is a lease that was lost while its
 * response waited for the store to come back.
 */
const EXCUSES = new Set(["lease-lost", "takeover", "released", "response-settled lost"]);

test.each<[how: string, keepsData: (node: number) => boolean]>([
  ["with their data", () => true],
  ["one of them always empty", (node) => node !== 0],
])(
  `${PROCESSES} processes, ${KEYS} keys, ${DUPLICATES} duplicates each, masters killed and restarted, %s: ` +
    "one execution per key unless a lease was lost, one answer, and every request settles",
  // A quarter of a minute; the rest is for machines that are busy with other things.
  { timeout: 180_000 },
  async (_how, keepsData) => {
    const seed = Number(process.env["SEED"] ?? Math.floor(Math.random() * 2 ** 31));
    console.log(`SEED=${seed}`);
    const random = randomFrom(seed);
    const masters = await startMasters(3, { persistence: "always" });
    onTestFinished(() => masters.close());
    const env = { URLS: masters.urls.join(), LEASE_MS: "6000", NODE_TIMEOUT_MS: "500" };
    const servers = await Promise.all(Array.from({ length: PROCESSES }, () => startServer(env)));

    const keys = Array.from({ length: KEYS }, (_, at) => `key-${seed}-${at}`);

    const requests = keys.map((key, at) =>
      Promise.all(
        Array.from({ length: DUPLICATES }, async () => {
          // Half of them at the same moment, the others while the first ones run, retry or are done.
          const laterMs = random() < 0.5 ? 0 : random() * DUPLICATES_MS;
          const startMs = (at / KEYS) * WORKLOAD_MS + laterMs;
          const first = Math.floor(random() * PROCESSES);
          const impatience = random();
          await sleep(startMs);
          return await untilPaid(servers, key, first, impatience);
        }),
      ),
    );
    const settled = Promise.all(requests);
    const kills = await killInTurn(masters, settled, keepsData);
    const answers = await settled;
    const reports = await Promise.all(servers.map((server) => server.report()));

    const excused = keys.filter((key) => isExcused(key, reports));
    const runs = keys.map((key) => executionsOf(key, reports));
    const total = runs.reduce((sum, count) => sum + count, 0);
    console.log(`${total} executions, ${excused.length} keys excused, ${kills} kills`);
    expect(kills).toBeGreaterThan(WORKLOAD_MS / KILL_EVERY_MS - 2);
    for (const [at, key] of keys.entries()) {
      expect(answers[at]).toHaveLength(DUPLICATES);
      expect(new Set(answers[at]).size, `different answers of ${key}`).toBe(1);
    }
    const twice = keys.filter((key, at) => runs[at] !== 1 && !excused.includes(key));
    expect(
      twice.map((key) => historyOf(key, reports)),
      "more than one execution",
    ).toEqual([]);
  },
);

/** A client that retries as the answer tells it, or sooner, at one process after another. */
async function untilPaid(
  servers: readonly PaymentServer[],
  key: string,
  first: number,
  impatience: number,
): Promise<string> {
  for (let tries = 0; tries < MAX_TRIES; tries += 1) {
    const answer = await servers[(first + tries) % servers.length]?.pay(key);
    if (answer?.status === 201) return answer.text;
    expect([409, 503]).toContain(answer?.status);
    const retryAfterMs = Number(answer?.headers["retry-after"]) * 1_000;
    expect(retryAfterMs).toBeGreaterThan(0);
    await sleep(impatience < 0.5 ? retryAfterMs : 100 + impatience * 400);
  }
  return expect.fail(`${key} was not answered in ${MAX_TRIES} tries.`);
}

/** Kills one node a second and restarts it, until all is settled. */
async function killInTurn(
  { nodes }: RedisMasters,
  settled: Promise<unknown>,
  keepsData: (node: number) => boolean,
): Promise<number> {
  const run = { isOver: false };
  const end = (): void => {
    run.isOver = true;
  };
  const over = settled.then(end, end);
  let kills = 0;
  for (; !run.isOver; kills += 1) {
    const at = kills % nodes.length;
    const node = nodes[at];
    const next = sleep(KILL_EVERY_MS);
    await node?.kill();
    await sleep(DEAD_FOR_MS);
    await node?.restart({ keepData: keepsData(at) });
    await Promise.race([next, over]);
  }
  return kills;
}

function executionsOf(key: string, reports: readonly Report[]): number {
  const stored = storageKey(key, undefined);
  return reports.reduce((sum, { executions }) => sum + (executions[stored] ?? 0), 0);
}

function isExcused(key: string, reports: readonly Report[]): boolean {
  return historyOf(key, reports).some(
    ({ type, about }) => EXCUSES.has(type) || EXCUSES.has(`${type} ${about}`),
  );
}

function historyOf(key: string, reports: readonly Report[]) {
  const stored = storageKey(key, undefined);
  const all = reports.flatMap(({ events }, server) =>
    events
      .filter((event) => event.key === stored)
      .map(({ at, type, about }) => ({ at, server, type, about })),
  );
  return all.toSorted((a, b) => a.at - b.at);
}

/** Mulberry32. */
function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d_2b_79_f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
