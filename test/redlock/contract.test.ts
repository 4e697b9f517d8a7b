/** The store contract on a quorum, whole and with a minority of its nodes dead or hung. */
import * as fc from "fast-check";
import type { Redis } from "ioredis";
import { afterAll, beforeAll, describe, expect, it, onTestFinished, test, vi } from "vitest";
import { startMasters, type RedisMasters, type RedisNode } from "../../infra/services/redis.js";
import type { Store } from "../../src/index.js";
import { storeContract } from "../../src/testing.js";
import { answer, FINGERPRINT, LONG_MS } from "../../src/testing/stage.js";
import { connectRedis, ready } from "../../stores/redis/connect.js";
import { redlockStore } from "../../stores/redlock.js";
import { storeWalks, walk } from "../contract/store-model.js";
import { acquired, completed, party, PREFIX, QUIET } from "./stage.js";

// Each test has keys of its own, and most of the time they wait for leases to end: they may do that together.
vi.setConfig({ maxConcurrency: 20 });
const runner = { describe: describe.concurrent, it: it.concurrent };

/** Many tests at once on few cores: no time-out must fire but those of the nodes that are meant. */
const NODE_TIMEOUT_MS = 1_000;

const WALKS = 60;

type Fault = (node: RedisNode) => Promise<void>;

const FAULTS: Readonly<Record<string, Fault | undefined>> = {
  "all up": undefined,
  "a minority killed": (node) => node.kill(),
  "a minority stopped": (node) => node.stop(),
};

const TOPOLOGIES = [3, 5].flatMap((count) =>
  Object.entries(FAULTS).map(([state, fault]) => ({ count, state, fault })),
);

describe.each(TOPOLOGIES)("$count masters, $state", ({ count, fault }) => {
  let masters: RedisMasters;
  let clients: Redis[];
  let store: Store;
  let alive: readonly RedisNode[];

  beforeAll(async () => {
    masters = await startMasters(count);
    clients = masters.urls.map((url) => connectRedis(url) as Redis);
    await Promise.all(clients.map((client) => ready(client)));
    store = redlockStore(clients, { ...QUIET, nodeTimeoutMs: NODE_TIMEOUT_MS });
    const minority = masters.nodes.slice(0, (count - 1) / 2);
    if (fault !== undefined) await Promise.all(minority.map(fault));
    alive = masters.nodes.filter((node) => fault === undefined || !minority.includes(node));
  });
  afterAll(async () => {
    for (const client of clients) client.disconnect();
    await masters.close();
  });

  storeContract("redlock", () => ({ store }), runner);

  it("random walks of all verbs go as in the model", async () => {
    const steps = storeWalks({ keys: WALKED_KEYS, durationsMs: DURATIONS_MS });
    let walked = 0;
    const walkOnce = async (sequence: Iterable<Step>): Promise<void> => {
      walked += 1;
      await walk(sequence, store, (ms) => age(alive, ms));
      await age(alive, 100 * Math.max(...DURATIONS_MS));
    };
    await fc.assert(fc.asyncProperty(steps, walkOnce), { numRuns: WALKS, endOnFailure: true });
    expect(walked).toBe(WALKS);
  });
});

test("clients that give numbers as strings are as good as others", async () => {
  const masters = await startMasters(3);
  onTestFinished(() => masters.close());
  const { store } = await party(masters.nodes, { connect: { stringNumbers: true } });
  const lease = await acquired(store.lock("k", FINGERPRINT, LONG_MS));

  expect(await store.extend(lease, LONG_MS)).toBe(true);
  await store.unlock(lease);
  const next = await acquired(store.lock("k", FINGERPRINT, LONG_MS));
  const response = answer();
  expect(await store.set(next, response, LONG_MS)).toEqual({ state: "stored" });
  expect(await store.extend(next, LONG_MS)).toBe(false);
  expect(await completed(store.lock("k", FINGERPRINT, LONG_MS))).toEqual(response);
  expect(await store.delete("k")).toBe(true);
  expect(await store.delete("k")).toBe(false);
});

const WALKED_KEYS = ["a", "b", "c"];

type Step = Parameters<typeof walk>[0] extends Iterable<infer One> ? One : never;

/** So long that no real time matters beside them. */
const DURATIONS_MS = [1, 2, 3, 5, 8].map((minutes) => minutes * 60_000);

/** Nodes hold leases one percent longer than they are promised. */
const DRIFT = 1.02;

const AGE = `
for _, key in ipairs(KEYS) do
  local left = redis.call('PTTL', key) - ARGV[1]
  if left > 0 then redis.call('PEXPIRE', key, left) else redis.call('DEL', key) end
end`;

/** Time passes for the walked keys: to a server a shorter rest is all there is to it. */
async function age(nodes: readonly RedisNode[], ms: number): Promise<void> {
  const passed = `${Math.ceil(ms * DRIFT)}`;
  const keys = WALKED_KEYS.map((key) => PREFIX + key);
  await Promise.all(
    nodes.map((node) => node.command("EVAL", AGE, `${keys.length}`, ...keys, passed)),
  );
}
