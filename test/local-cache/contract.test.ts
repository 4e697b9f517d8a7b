/** The store contract through the cache: in front of the memory store on a fake clock, and of a real Redis. */
import * as fc from "fast-check";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { startRedis, type RedisNode } from "../../infra/services/redis.js";
import { commitContract, storeContract } from "../../src/testing.js";
import { withLocalCache } from "../../stores/local-cache.js";
import { memoryStore } from "../../stores/memory.js";
import { connectRedis, ready, redisStore } from "../../stores/redis.js";
import { storeWalks, walk } from "../contract/store-model.js";
import { ledgerStore } from "../support/ledger-store.js";

describe("on a fake clock", () => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ["performance", "Date", "setTimeout", "clearTimeout"] });
  });

  afterEach(() => {
    vi.useRealTimers();
  });

  const elapse = async (ms: number): Promise<void> => {
    vi.advanceTimersByTime(ms);
  };

  const underTest = () => ({ store: withLocalCache(memoryStore()), elapse });

  storeContract("memory behind a local cache", underTest, { describe, it });

  commitContract(
    "a store with transactions behind a local cache",
    () => ({ store: withLocalCache(ledgerStore()), elapse }),
    { describe, it },
  );

  it("every sequence of verbs by holders fresh and stale goes as in the model, deletes included", async () => {
    const steps = storeWalks({ keys: ["a", "b", "c"], durationsMs: [1, 2, 3, 5, 8, 50] });
    let walked = 0;
    await fc.assert(
      fc.asyncProperty(steps, async (sequence) => {
        // Two records fit, so that what is cached also goes again.
        const store = withLocalCache(memoryStore(), { maxEntries: 2 });
        await walk(sequence, store, elapse);
        walked += 1;
      }),
      { numRuns: 400 },
    );
    expect(walked).toBe(400);
  });
});

describe("on a real server", () => {
  // Most tests wait for a lease to end. The time limits are for slow machines; what hangs is still found.
  vi.setConfig({ maxConcurrency: 24, testTimeout: 60_000, hookTimeout: 60_000 });

  let node: RedisNode;
  let client: ReturnType<typeof connectRedis>;

  beforeAll(async () => {
    node = await startRedis();
    client = connectRedis(node.url);
    await ready(client);
  });

  afterAll(async () => {
    client?.disconnect();
    await node?.close();
  });

  const underTest = () => ({
    store: withLocalCache(redisStore(client, { onReport: () => undefined })),
  });

  storeContract("Redis behind a local cache", underTest, {
    describe: describe.concurrent,
    it: it.concurrent,
  });
});
