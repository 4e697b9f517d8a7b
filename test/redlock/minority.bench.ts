/**
 * What a minority that hangs or is dead costs after its first time-out: p50 of `lock` and `set`, side by side with a quorum
 * that is whole, in turns, so that both have the same neighbours.
 *
 *     npx vitest bench --run test/redlock/minority.bench.ts
 */
import type { Redis } from "ioredis";
import { bench } from "vitest";
import { startMasters, type RedisNode } from "../../infra/services/redis.js";
import type { Store } from "../../src/index.js";
import { answer, FINGERPRINT, LONG_MS } from "../../src/testing/stage.js";
import { connectRedis, ready } from "../../stores/redis/connect.js";
import { redlockStore } from "../../stores/redlock.js";
import { freshKey, QUIET, warm } from "./stage.js";

const TURNS = 1_000;
const TARGET = 1.5;

type Hurt = (node: RedisNode) => Promise<void>;

interface Times {
  readonly lock: number[];
  readonly set: number[];
}

interface Quorum extends AsyncDisposable {
  readonly store: Store;
}

async function quorumOf(count: number, hurt?: Hurt): Promise<Quorum> {
  const masters = await startMasters(count);
  await warm(masters.nodes);
  const clients = masters.urls.map((url) => connectRedis(url) as Redis);
  await Promise.all(clients.map((client) => ready(client)));
  const store = redlockStore(clients, QUIET);
  await request(store);
  if (hurt !== undefined) {
    await Promise.all(masters.nodes.slice(0, (count - 1) / 2).map(hurt));
    // The incident itself: one time-out at the most.
    await request(store);
  }
  const close = async (): Promise<void> => {
    for (const client of clients) client.disconnect();
    await masters.close();
  };
  return { store, [Symbol.asyncDispose]: close };
}

async function request(store: Store, times: Times = { lock: [], set: [] }): Promise<void> {
  const startedAt = performance.now();
  const claim = await store.lock(freshKey(), FINGERPRINT, LONG_MS);
  const claimedAt = performance.now();
  if (claim.state !== "acquired") throw new Error(`A free key was ${claim.state}.`);
  await store.set(claim.lease, answer(), LONG_MS);
  times.lock.push(claimedAt - startedAt);
  times.set.push(performance.now() - claimedAt);
}

async function compare(how: string, count: number, hurt: Hurt): Promise<void> {
  await using whole = await quorumOf(count);
  await using part = await quorumOf(count, hurt);
  const healthy: Times = { lock: [], set: [] };
  const without: Times = { lock: [], set: [] };
  for (let turn = 0; turn < TURNS; turn += 1) {
    await request(whole.store, healthy);
    await request(part.store, without);
  }
  for (const verb of ["lock", "set"] as const) {
    const [before, after] = [median(healthy[verb]), median(without[verb])];
    console.log(
      `${count} nodes, a minority ${how}: ${verb} p50 ${after.toFixed(3)} ms, healthy ${before.toFixed(3)} ms, ` +
        `${(after / before).toFixed(2)}x (${after / before <= TARGET ? "within" : "beyond"} ${TARGET}x)`,
    );
  }
}

function median(times: readonly number[]): number {
  return times.toSorted((a, b) => a - b)[Math.floor(times.length / 2)] ?? 0;
}

// The runner starts it; what counts is measured within one run.
bench(
  "a minority that is out",
  async () => {
    for (const count of [3, 5]) {
      await compare("stopped", count, (node) => node.stop());
      await compare("killed", count, (node) => node.kill());
    }
  },
  { iterations: 1, time: 0, warmupIterations: 0, warmupTime: 0 },
);
