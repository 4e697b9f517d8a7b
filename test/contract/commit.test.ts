/** The contract of `commit`: a right store passes, and stores with a flaw are found. */
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { commitContract, type StoreUnderTest } from "../../src/testing.js";
import { ledgerStore, type LedgerStore } from "../support/ledger-store.js";

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["performance", "Date", "setTimeout", "clearTimeout"] });
});

afterEach(() => {
  vi.useRealTimers();
});

function underTest(store = ledgerStore()): StoreUnderTest {
  return {
    store,
    elapse: async (ms) => {
      vi.advanceTimersByTime(ms);
    },
  };
}

commitContract("memory with a ledger", () => underTest(), { describe, it });

type Commit = (store: LedgerStore, ...args: Parameters<LedgerStore["commit"]>) => Promise<unknown>;

it.each<[string, Commit, found: string]>([
  [
    "is a mere set",
    (store, lease, response, ttlMs) => store.set(lease, response, ttlMs),
    "unlike a set",
  ],
  [
    "ignores the owner",
    async (store, lease, response, ttlMs) => {
      await store.delete(lease.key);
      const claim = await store.lock(lease.key, lease.fingerprint, ttlMs);
      return claim.state === "acquired" ? await store.set(claim.lease, response, ttlMs) : claim;
    },
    "without the token nobody commits",
  ],
  [
    "forgets the winner",
    async (store, ...args) => ({ state: (await store.commit(...args)).state }),
    "gets its record",
  ],
  [
    "forgets what it committed",
    async (store, lease, ...rest) =>
      (await store.extend(lease, 60_000)) ? await store.commit(lease, ...rest) : { state: "lost" },
    "a repeated commit says stored",
  ],
  [
    "keeps its record for ever",
    (store, lease, response, _, writes) => store.commit(lease, response, 2 ** 31, writes),
    "ends with its TTL",
  ],
])("finds a store whose commit %s", async (_, flawed, found) => {
  const failed: string[] = [];
  const running: Promise<unknown>[] = [];
  const make = () => {
    const store = ledgerStore();
    const commit = ((...args) => flawed(store, ...args)) as LedgerStore["commit"];
    return underTest({ ...store, commit });
  };
  commitContract("a store", make, {
    describe: (_name, body) => {
      body();
    },
    it: (name, body) => running.push(body().catch(() => failed.push(name))),
  });
  await Promise.all(running);

  expect(failed).toContainEqual(expect.stringContaining(found));
});
