/**
 * What a hung minority costs after its first time-out: p50 of `lock` and `set`, before and after, side by side.
 *
 *     npx vitest bench --run test/redlock/minority.bench.ts
 */
import type { Redis } from "ioredis";
import { bench } from "vitest";
import { startMasters } from "../../infra/services/redis.js";
import type { Store } from "../../src/index.js";
import { answer, FINGERPRINT, LONG_MS } from "../../src/testing/stage.js";
import { connectRedis, ready } from "../../stores/redis/connect.js";
import { redlockStore } from "../../stores/redlock.js";
import { freshKey, QUIET } from "./stage.js";

const REQUESTS = 3_000;
const TARGET = 1.5;

async function compare(): Promise<void> {
  for (const nodes of [3, 5]) {
    const masters = await startMasters(nodes);
    const clients = masters.urls.map((url) => connectRedis(url) as Redis);
    await Promise.all(clients.map((client) => ready(client)));
    const store = redlockStore(clients, QUIET);
    await p50s(store);
    const healthy = await p50s(store);
    await Promise.all(masters.nodes.slice(0, (nodes - 1) / 2).map((node) => node.stop()));
    const startedAt = performance.now();
    await store.lock(freshKey(), FINGERPRINT, LONG_MS);
    const incidentMs = performance.now() - startedAt;
    const hung = await p50s(store);
    report(nodes, "lock", healthy.lockMs, hung.lockMs);
    report(nodes, "set", healthy.setMs, hung.setMs);
    console.log(`${nodes} nodes: the incident itself took ${incidentMs.toFixed(0)} ms, once.`);
    for (const client of clients) client.disconnect();
    await masters.close();
  }
}

function report(nodes: number, verb: string, healthyMs: number, hungMs: number): void {
  const ratio = hungMs / healthyMs;
  console.log(
    `${nodes} nodes: ${verb} p50 ${healthyMs.toFixed(3)} ms healthy, ${hungMs.toFixed(3)} ms with a hung minority, ` +
      `${ratio.toFixed(2)}x (${ratio <= TARGET ? "within" : "beyond"} ${TARGET}x)`,
  );
}

async function p50s(store: Store): Promise<{ lockMs: number; setMs: number }> {
  const locks: number[] = [];
  const sets: number[] = [];
  for (let request = 0; request < REQUESTS; request += 1) {
    const startedAt = performance.now();
    const claim = await store.lock(freshKey(), FINGERPRINT, LONG_MS);
    const claimedAt = performance.now();
    if (claim.state !== "acquired") throw new Error(`A free key was ${claim.state}.`);
    await store.set(claim.lease, answer(), LONG_MS);
    locks.push(claimedAt - startedAt);
    sets.push(performance.now() - claimedAt);
  }
  return { lockMs: median(locks), setMs: median(sets) };
}

function median(times: readonly number[]): number {
  return times.toSorted((a, b) => a - b)[Math.floor(times.length / 2)] ?? 0;
}

// The runner starts it; what counts is measured within one run, so that both figures have the same neighbours.
bench("a hung minority", compare, { iterations: 1, time: 0, warmupIterations: 0, warmupTime: 0 });
