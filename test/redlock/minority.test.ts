/** What a minority that hangs or is dead costs after its first time-out, side by side with a quorum that is whole. */
import { expect, onTestFinished, test } from "vitest";
import type { Redis } from "ioredis";
import { startMasters, type RedisNode } from "../../infra/services/redis.js";
import type { Store } from "../../src/index.js";
import { answer, FINGERPRINT, LONG_MS } from "../../src/testing/stage.js";
import { connectRedis, ready } from "../../stores/redis/connect.js";
import { redlockStore } from "../../stores/redlock.js";
import { acquired, freshKey, QUIET, warm } from "./stage.js";

/** In turns, so that both have the same neighbours on a machine that is busy. */
const TURNS = 500;
const MOST = 1.5;

interface Times {
  readonly lock: number[];
  readonly set: number[];
}

async function quorumOf(count: number, hurt?: (node: RedisNode) => Promise<void>): Promise<Store> {
  const masters = await startMasters(count);
  onTestFinished(() => masters.close());
  await warm(masters.nodes);
  const clients = masters.urls.map((url) => connectRedis(url) as Redis);
  onTestFinished(() => {
    for (const client of clients) client.disconnect();
  });
  await Promise.all(clients.map((client) => ready(client)));
  const store = redlockStore(clients, QUIET);
  await request(store);
  if (hurt === undefined) return store;
  await Promise.all(masters.nodes.slice(0, (count - 1) / 2).map(hurt));
  // The incident itself: one time-out at the most.
  await request(store);
  return store;
}

async function request(store: Store, times: Times = { lock: [], set: [] }): Promise<void> {
  const startedAt = performance.now();
  const lease = await acquired(store.lock(freshKey(), FINGERPRINT, LONG_MS));
  const lockedAt = performance.now();
  expect(await store.set(lease, answer(), LONG_MS)).toEqual({ state: "stored" });
  times.lock.push(lockedAt - startedAt);
  times.set.push(performance.now() - lockedAt);
}

function median(times: readonly number[]): number {
  return times.toSorted((a, b) => a - b)[Math.floor(times.length / 2)] ?? 0;
}

test.each<[how: string, count: number, hurt: (node: RedisNode) => Promise<void>]>([
  ["stopped", 3, (node) => node.stop()],
  ["stopped", 5, (node) => node.stop()],
  ["killed", 3, (node) => node.kill()],
])(
  `a minority %s, of %i: p50 of lock and set within ${MOST}x of the healthy ones`,
  async (_, count, hurt) => {
    const [whole, hurtOne] = await Promise.all([quorumOf(count), quorumOf(count, hurt)]);
    const healthy: Times = { lock: [], set: [] };
    const without: Times = { lock: [], set: [] };
    for (let turn = 0; turn < TURNS; turn += 1) {
      await request(whole, healthy);
      await request(hurtOne, without);
    }

    const ratios = {
      lock: median(without.lock) / median(healthy.lock),
      set: median(without.set) / median(healthy.set),
    };
    console.log(
      `${JSON.stringify(ratios)} at a healthy lock of ${median(healthy.lock).toFixed(2)} ms`,
    );
    expect(ratios.lock).toBeLessThan(MOST);
    expect(ratios.set).toBeLessThan(MOST);
  },
);
