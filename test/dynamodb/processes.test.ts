/** Four processes whose clocks disagree, a hundred keys, twenty duplicates of each: a hundred executions. */
import { existsSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { launch } from "../../infra/services/process.js";
import { send } from "../support/http.js";
import { openStage, type Stage } from "./stage.js";

const SERVER = fileURLToPath(new URL("server.mjs", import.meta.url));
const BUILT = fileURLToPath(new URL("../../dist/stores/dynamodb.js", import.meta.url));

const CLOCKS_AHEAD_MS = [0, 10_000, -10_000, 3_000];
const KEYS = 100;
const DUPLICATES = 20;

/** One slow server serves them all: new keys come over this time, the duplicates of one within a part of it. */
const WORKLOAD_MS = 10_000;
const DUPLICATES_MS = 1_000;

/** Real clients give up; here none has to. */
const MAX_TRIES = 60;

let stage: Stage;

beforeAll(async () => {
  stage = await openStage();
}, 120_000);
afterAll(() => stage.close());

async function startServer(aheadMs: number): Promise<number> {
  if (!existsSync(BUILT)) throw new Error(`${BUILT} is missing: run \`npm run build\` first.`);
  const readyWhen = /^Listening on (\d+)\.$/m;
  const env = {
    TABLE: stage.tableName,
    ENDPOINT: stage.server.url,
    CLOCK_AHEAD_MS: `${aheadMs}`,
  };
  const server = await launch({ command: process.execPath, args: [SERVER], readyWhen, env });
  onTestFinished(() => server.kill());
  return Number(readyWhen.exec(server.output())?.[1]);
}

/** A client that retries at one process after another, until it is answered. */
async function pay(ports: readonly number[], key: string, first: number): Promise<string> {
  for (let tries = 0; tries < MAX_TRIES; tries += 1) {
    const port = ports[(first + tries) % ports.length] ?? 0;
    const answer = await send(port, { path: "/payments", key, body: "{}" });
    if (answer.status === 201) return answer.text;
    expect([409, 503]).toContain(answer.status);
    await sleep(500 + Math.random() * 1_000);
  }
  return expect.fail(`${key} was not answered in ${MAX_TRIES} tries.`);
}

test(
  `${CLOCKS_AHEAD_MS.length} processes, ${KEYS} keys, ${DUPLICATES} duplicates each: ${KEYS} executions, one answer per key`,
  { timeout: 300_000 },
  async () => {
    const ports = await Promise.all(CLOCKS_AHEAD_MS.map(startServer));
    const keys = Array.from({ length: KEYS }, (_, at) => `key-${at}`);

    const answers = await Promise.all(
      keys.map((key, nth) =>
        Promise.all(
          Array.from({ length: DUPLICATES }, async (_, at) => {
            // Half of them at the same moment, the others while the first ones run, retry or are done.
            const laterMs = at % 2 === 0 ? 0 : Math.random() * DUPLICATES_MS;
            await sleep((nth / KEYS) * WORKLOAD_MS + laterMs);
            return await pay(ports, key, at);
          }),
        ),
      ),
    );

    for (const [at, key] of keys.entries()) {
      expect(answers[at]).toHaveLength(DUPLICATES);
      expect(new Set(answers[at]).size, `different answers of ${key}`).toBe(1);
    }
    const reports = await Promise.all(
      ports.map(async (port) => {
        const report = await send(port, { method: "GET", path: "/report" });
        return JSON.parse(report.text) as Record<string, number>;
      }),
    );
    const runs = reports.flatMap((report) => Object.values(report));
    expect(runs.reduce((sum, count) => sum + count, 0)).toBe(KEYS);
    expect(runs).toHaveLength(KEYS);
  },
);
