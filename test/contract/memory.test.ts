import * as fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { storeContract, type StoreUnderTest } from "../../src/testing.js";
import { memoryStore } from "../../stores/memory.js";
import { storeWalks, walk } from "./store-model.js";

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["performance", "Date", "setTimeout", "clearTimeout"] });
});

afterEach(() => {
  vi.useRealTimers();
});

const elapse = async (ms: number): Promise<void> => {
  vi.advanceTimersByTime(ms);
};

function underTest(): StoreUnderTest {
  return { store: memoryStore(), elapse };
}

storeContract("memory", underTest, { describe, it });

describe("memory: random walks", () => {
  // Small numbers, so that leases often end exactly when something else happens.
  const steps = storeWalks({ keys: ["a", "b", "c"], durationsMs: [1, 2, 3, 5, 8, 50] });

  it("every sequence of verbs by holders fresh and stale goes as in the model", async () => {
    let walked = 0;
    await fc.assert(
      fc.asyncProperty(steps, async (sequence) => {
        await walk(sequence, memoryStore(), elapse);
        walked += 1;
      }),
      { numRuns: 400 },
    );
    expect(walked).toBe(400);
  });

  it("nothing that expired is left behind by them", async () => {
    await fc.assert(
      fc.asyncProperty(steps, async (sequence) => {
        const store = memoryStore();
        await walk(sequence, store, elapse);
        // A day on, leases are forgotten as well, and writes to another key reap everything.
        await elapse(24 * 60 * 60 * 1000);
        for (let turn = 0; turn < 3; turn += 1) {
          const claim = await store.lock("other", "fingerprint", 1);
          if (claim.state === "acquired") await store.unlock(claim.lease);
        }
        expect(store.size).toEqual({ entries: 0, bytes: 0 });
      }),
      { numRuns: 100 },
    );
  });
});
