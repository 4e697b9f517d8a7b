import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { LockFailedError, OptionsError, StoreUnavailableError } from "../../src/errors.js";
import type { CachedResponse, Lease } from "../../src/store.js";
import { memoryStore, type Eviction, type MemoryStore } from "../../stores/memory.js";

const HOUR_MS = 60 * 60 * 1000;
// The least that may be asked for: room for some twenty small records.
const SMALL = { maxBytes: 16 * 1024 };

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["performance", "Date", "setTimeout", "clearTimeout"] });
});

afterEach(() => {
  vi.useRealTimers();
});

function elapse(ms: number): void {
  vi.advanceTimersByTime(ms);
}

function answer(body = "ok", ttlMs = HOUR_MS): CachedResponse {
  const timestamp = Date.now();
  const expiresAt = timestamp + ttlMs;
  return {
    statusCode: 200,
    headers: [],
    body: Buffer.from(body),
    timestamp,
    expiresAt,
    fingerprint: "fp",
  };
}

async function acquire(store: MemoryStore, key: string, leaseMs = 30_000): Promise<Lease> {
  const claim = await store.lock(key, "fp", leaseMs);
  if (claim.state !== "acquired") throw new Error(`${key} is ${claim.state}`);
  return claim.lease;
}

async function record(
  store: MemoryStore,
  key: string,
  ttlMs = HOUR_MS,
  body = "ok",
): Promise<CachedResponse> {
  const response = answer(body, ttlMs);
  const result = await store.set(await acquire(store, key), response, ttlMs);
  expect(result).toEqual({ state: "stored" });
  return response;
}

function timers(): readonly string[] {
  return process.getActiveResourcesInfo().filter((name) => name === "Timeout");
}

async function kept(store: MemoryStore, keys: readonly string[]): Promise<string[]> {
  const found = await Promise.all(keys.map(async (key) => [key, await store.get(key)] as const));
  return found.filter(([, response]) => response !== undefined).map(([key]) => key);
}

/** Takes all room with leases. */
async function fill(store: MemoryStore): Promise<Lease[]> {
  const claims = await Promise.allSettled(
    Array.from({ length: 50 }, (_, at) => acquire(store, `${at}`)),
  );
  const leases = claims.flatMap((claim) => (claim.status === "fulfilled" ? [claim.value] : []));
  expect(leases.length).toBeLessThan(claims.length);
  return leases;
}

/** A store of three entries that tells what it evicts. */
function storeOfThree() {
  const evicted: Eviction[] = [];
  const store = memoryStore({ maxEntries: 3, onEvict: (eviction) => evicted.push(eviction) });
  return { store, evicted };
}

describe("the memory store's bounds", () => {
  it("evicts the record that was written longest ago, and says which", async () => {
    const { store, evicted } = storeOfThree();
    // Of the three, the first was written last and would expire last.
    const first = await acquire(store, "first");
    const second = await record(store, "second");
    await record(store, "third", 1_000);
    await store.set(first, answer(), HOUR_MS);
    await record(store, "fourth");
    expect(evicted).toEqual([{ key: "second", expiresAt: second.expiresAt, kept: "nothing" }]);
    await record(store, "fifth");
    expect(await kept(store, ["first", "second", "third", "fourth", "fifth"])).toEqual([
      "first",
      "fourth",
      "fifth",
    ]);
  });

  it("lets expired records and leases go first, and those are no eviction", async () => {
    const { store, evicted } = storeOfThree();
    await record(store, "old");
    await record(store, "expired", 10);
    await acquire(store, "abandoned", 10);
    elapse(10);
    await record(store, "new");
    await record(store, "newer");
    expect(evicted).toEqual([]);
    expect(await kept(store, ["old", "new", "newer"])).toEqual(["old", "new", "newer"]);
  });

  it("evicts in order of age also when records in between were deleted", async () => {
    const { store, evicted } = storeOfThree();
    for (const key of ["a", "b", "c"]) await record(store, key);
    await store.delete("b");
    for (const key of ["d", "e"]) await record(store, key);
    await store.delete("e");
    for (const key of ["f", "g", "h"]) await record(store, key);
    expect(evicted.map(({ key }) => key)).toEqual(["a", "c", "d"]);
    expect(await kept(store, ["f", "g", "h"])).toEqual(["f", "g", "h"]);
  });

  it("C23: never evicts a live lease: full of them, it refuses to lock and says for how long", async () => {
    const { store } = storeOfThree();
    const leases = [];
    for (const key of ["a", "b", "c"]) leases.push(await acquire(store, key, 10_000));
    await store.extend(leases[0] as Lease, 20_000);
    elapse(4_000);
    const refused = store.lock("d", "fp", 10_000);
    await expect(refused).rejects.toThrow(LockFailedError);
    await expect(refused).rejects.toMatchObject({ code: "LOCK_FAILED", retryAfterMs: 6_000 });
    for (const lease of leases) expect(await store.extend(lease, 10_000)).toBe(true);
  });

  it("locks again once one of them has ended", async () => {
    const { store } = storeOfThree();
    for (const key of ["a", "b"]) await acquire(store, key);
    await acquire(store, "c", 10);
    elapse(10);
    await acquire(store, "d");
    await expect(store.lock("e", "fp", 10)).rejects.toThrow(LockFailedError);
  });

  it("evicts nothing in vain before it refuses to lock", async () => {
    const onEvict = vi.fn<(eviction: Eviction) => void>();
    const store = memoryStore({ ...SMALL, onEvict });
    await record(store, "record");
    const before = store.size.bytes;
    await acquire(store, "00");
    const leaseBytes = store.size.bytes - before;
    for (let at = 10; store.size.bytes + leaseBytes <= SMALL.maxBytes; at += 1) {
      await acquire(store, `${at}`);
    }
    // Neither what is free would do for this one, nor that and the record's room.
    const longest = "x".repeat(255);
    await expect(store.lock(longest, longest, 10)).rejects.toThrow(LockFailedError);
    expect(onEvict).not.toHaveBeenCalled();
    expect(await kept(store, ["record"])).toEqual(["record"]);
  });

  it("bounds bytes as well as entries", async () => {
    const onEvict = vi.fn<(eviction: Eviction) => void>();
    const store = memoryStore({ ...SMALL, onEvict });
    for (let at = 0; at < 50; at += 1) {
      await record(store, `key-${at}`, HOUR_MS, "x".repeat(500));
      expect(store.size.bytes).toBeLessThanOrEqual(SMALL.maxBytes);
    }
    expect(store.size.entries).toBeGreaterThan(10);
    expect(onEvict).toHaveBeenCalledTimes(50 - store.size.entries);
  });

  it("has room to the last byte, also for a lease in a record's place", async () => {
    const onEvict = vi.fn<(eviction: Eviction) => void>();
    const store = memoryStore({ ...SMALL, onEvict });
    await acquire(store, "x".repeat(200));
    // Two of the same size, one of them taken by a record.
    const leaseBytes = store.size.bytes;
    while (store.size.bytes + 3 * leaseBytes <= SMALL.maxBytes) {
      await acquire(store, `${store.size.entries}`.padStart(200));
    }
    const left = SMALL.maxBytes - store.size.bytes - leaseBytes;
    await record(store, "record");
    await acquire(store, "y".repeat(200));
    expect(onEvict).not.toHaveBeenCalled();
    await acquire(store, "z".repeat(200 + left - leaseBytes));
    expect(onEvict).toHaveBeenCalledWith(expect.objectContaining({ key: "record" }));
    expect(store.size.bytes).toBe(SMALL.maxBytes);
  });

  it("refuses a key that no room would ever do for, and then knows no time to retry", async () => {
    const store = memoryStore(SMALL);
    const refused = store.lock("key", "x".repeat(SMALL.maxBytes), 10);
    await expect(refused).rejects.toThrow(LockFailedError);
    await expect(refused).rejects.toMatchObject({ retryAfterMs: undefined });
  });

  it("lets an expired record go with the claim of its key, however many others have expired", async () => {
    const store = memoryStore();
    const others = Array.from({ length: 10 }, (_, at) => `${at}`);
    for (const key of others) await record(store, key, 10);
    await record(store, "claimed", 20);
    elapse(20);
    const lease = await acquire(store, "claimed");
    for (const key of others) await store.unlock(await acquire(store, key));
    expect(store.size.entries).toBe(1);
    expect(await store.extend(lease, 10)).toBe(true);
    await store.unlock(lease);
    expect(store.size).toEqual({ entries: 0, bytes: 0 });
  });

  it("counts to nothing when everything has gone", async () => {
    const store = memoryStore();
    await record(store, "a");
    await store.unlock(await acquire(store, "b"));
    await acquire(store, "c");
    for (const key of ["a", "c"]) await store.delete(key);
    expect(store.size).toEqual({ entries: 0, bytes: 0 });
  });
});

describe("a response too large for the memory store", () => {
  it("leaves a tombstone, so that a retry is told and not executed", async () => {
    const evicted: Eviction[] = [];
    const store = memoryStore({ ...SMALL, onEvict: (eviction) => evicted.push(eviction) });
    await record(store, "small");
    const response = await record(store, "large", HOUR_MS, "x".repeat(SMALL.maxBytes / 8));
    const { statusCode, timestamp, expiresAt, fingerprint } = response;
    expect(await store.get("large")).toEqual({
      statusCode,
      timestamp,
      expiresAt,
      fingerprint,
      tombstone: "too-large",
      headers: [],
      body: Buffer.alloc(0),
    });
    expect(evicted).toEqual([{ key: "large", expiresAt, kept: "tombstone" }]);
    expect(await kept(store, ["small"])).toEqual(["small"]);
  });

  it("is one byte larger than an eighth of the room", async () => {
    const onEvict = vi.fn<(eviction: Eviction) => void>();
    const store = memoryStore({ ...SMALL, onEvict });
    await record(store, "key", HOUR_MS, "");
    const largest = SMALL.maxBytes / 8 - store.size.bytes;
    await record(store, "yek", HOUR_MS, "x".repeat(largest));
    expect(store.size.bytes).toBe(SMALL.maxBytes / 8 + SMALL.maxBytes / 8 - largest);
    expect(onEvict).not.toHaveBeenCalled();
    await record(store, "eky", HOUR_MS, "x".repeat(largest + 1));
    expect(onEvict).toHaveBeenCalledWith(
      expect.objectContaining({ key: "eky", kept: "tombstone" }),
    );
  });

  it("leaves a tombstone where the lease has ended and there is room", async () => {
    const store = memoryStore({ ...SMALL, onEvict: () => {} });
    const lease = await acquire(store, "large", 10);
    elapse(10);
    const response = answer("x".repeat(SMALL.maxBytes));
    expect(await store.set(lease, response, HOUR_MS)).toEqual({ state: "stored", lapsed: true });
    expect(await store.get("large")).toMatchObject({ tombstone: "too-large" });
  });

  it("says stored when it is set again", async () => {
    const store = memoryStore({ ...SMALL, onEvict: () => {} });
    const lease = await acquire(store, "large");
    const response = answer("x".repeat(SMALL.maxBytes));
    for (let turn = 0; turn < 2; turn += 1) {
      expect(await store.set(lease, response, HOUR_MS)).toEqual({ state: "stored" });
    }
  });

  it("has its tombstone also where live leases take all the room", async () => {
    const onEvict = vi.fn<(eviction: Eviction) => void>();
    const store = memoryStore({ ...SMALL, onEvict });
    const leases = await fill(store);
    const response = answer("x".repeat(SMALL.maxBytes / 8));
    for (const lease of leases) {
      expect(await store.set(lease, response, HOUR_MS)).toEqual({ state: "stored" });
    }
    const names = leases.map(({ key }) => key);
    expect(await kept(store, names)).toEqual(names);
    expect(onEvict).toHaveBeenCalledTimes(names.length);
    expect(store.size.bytes).toBeLessThanOrEqual(SMALL.maxBytes);
  });

  it("has its tombstone even if that is larger than could be reckoned with", async () => {
    const store = memoryStore({ ...SMALL, onEvict: () => {} });
    const [lease] = await fill(store);
    const response = { ...answer(), fingerprint: "x".repeat(1_000) };
    expect(await store.set(lease as Lease, response, HOUR_MS)).toEqual({ state: "stored" });
    expect(await store.get("0")).toMatchObject({ tombstone: "too-large" });
  });

  it("is not stored, and says so, for a lease that ended while others took all the room", async () => {
    const { store } = storeOfThree();
    const stale = await acquire(store, "stale", 10);
    elapse(10);
    for (const key of ["a", "b", "c"]) await acquire(store, key, 5_000);
    const refused = store.set(stale, answer(), HOUR_MS);
    await expect(refused).rejects.toThrow(StoreUnavailableError);
    await expect(refused).rejects.toMatchObject({ retryAfterMs: 5_000 });
  });
});

describe("what the memory store reports", () => {
  it("is a process warning for the first of each kind where nobody listens", async () => {
    const warn = vi.spyOn(process, "emitWarning").mockReturnValue();
    const store = memoryStore({ ...SMALL, maxEntries: 1 });
    for (const key of ["a", "b", "c"]) await record(store, key);
    for (const key of ["d", "e"]) await record(store, key, HOUR_MS, "x".repeat(SMALL.maxBytes));
    const warnings = [...warn.mock.calls];
    warn.mockRestore();
    const full = { code: "IDEMPOTENCY_MEMORY_FULL" };
    expect(warnings).toEqual([
      [expect.stringMatching(/evicted a live record: its request may be executed again/), full],
      [expect.stringMatching(/kept a tombstone/), full],
    ]);
  });

  it("finds the store consistent, and may throw or call it", async () => {
    const warn = vi.spyOn(process, "emitWarning").mockReturnValue();
    const thrown: unknown[] = [new Error("from the listener"), 42];
    const again: Promise<unknown>[] = [];
    const store = memoryStore({
      maxEntries: 1,
      onEvict: ({ key }) => {
        again.push(store.get(key), store.delete("b"));
        throw thrown.shift();
      },
    });
    await record(store, "a");
    const lease = await acquire(store, "b");
    expect(await Promise.all(again)).toEqual([undefined, true]);
    expect(await store.extend(lease, 10)).toBe(false);
    for (const key of ["c", "d"]) await record(store, key);
    const warnings = warn.mock.calls.map(([warning]) => warning);
    warn.mockRestore();
    expect(warnings).toEqual([new Error("from the listener"), "42"]);
  });
});

describe("the memory store's time", () => {
  it("is not the wall clock's: a jump neither ends nor prolongs anything", async () => {
    const store = memoryStore();
    for (const jumpMs of [HOUR_MS, -HOUR_MS]) {
      const response = await record(store, `record${jumpMs}`, 1_000);
      await acquire(store, `held${jumpMs}`, 1_000);
      vi.setSystemTime(Date.now() + jumpMs);
      elapse(999);
      expect((await store.get(`record${jumpMs}`))?.expiresAt).toBe(response.expiresAt);
      expect(await store.lock(`held${jumpMs}`, "fp", 10)).toMatchObject({ state: "in-progress" });
      elapse(1);
      expect(await store.get(`record${jumpMs}`)).toBeUndefined();
      expect(await store.lock(`held${jumpMs}`, "fp", 10)).toMatchObject({ state: "acquired" });
    }
  });

  it("promises a lease until exactly when it lets it go", async () => {
    const store = memoryStore();
    const lease = await acquire(store, "key", 100);
    expect(lease.validUntil).toBe(performance.now() + 100);
    elapse(99);
    expect(await store.lock("key", "other", 100)).toEqual({
      state: "in-progress",
      fingerprint: "fp",
      retryAfterMs: 1,
    });
    elapse(1);
    expect(await store.lock("key", "other", 100)).toMatchObject({ state: "acquired" });
  });

  it("tells who claims an abandoned key that it is a takeover, whatever was written since", async () => {
    const store = memoryStore();
    await acquire(store, "abandoned", 1_000);
    elapse(10 * 60_000);
    for (let at = 0; at < 50; at += 1) await record(store, `${at}`);
    expect(await store.lock("abandoned", "fp", 10)).toMatchObject({ takeover: true });
  });

  it("C47: keeps memory flat under a steady stream of keys with all kinds of TTLs", async () => {
    const store = memoryStore();
    const ttls = [0, 1_400, 6_000, 0, 400_000, 2_000_000];
    let most = 0;
    for (let at = 0; at < 100_000; at += 1) {
      // Of six keys four are completed, one is unlocked and one abandoned.
      const lease = await acquire(store, `key-${at}`, 1_000);
      const ttlMs = ttls[at % ttls.length] as number;
      if (ttlMs > 0) await store.set(lease, answer("ok", ttlMs), ttlMs);
      elapse(200);
      if (at % 6 === 0) await store.unlock(lease);
      most = Math.max(most, store.size.entries);
    }
    // So many live at a time: 2 006 records, and the abandoned among the 18 000 leases of an hour.
    expect(most).toBeGreaterThan(4_000);
    expect(most).toBeLessThan(5_100);
    elapse(2 * HOUR_MS);
    for (let at = 0; at < 10_000; at += 1) await store.unlock(await acquire(store, "last"));
    expect(store.size).toEqual({ entries: 0, bytes: 0 });
  });

  it("runs no timer", async () => {
    vi.useRealTimers();
    const before = timers();
    const store = memoryStore();
    await record(store, "record");
    await acquire(store, "held");
    expect(timers()).toEqual(before);
    await store.close();
  });
});

describe("the memory store", () => {
  it("forgets everything when it is closed, and refuses what comes after", async () => {
    const store = memoryStore();
    await record(store, "record");
    const lease = await acquire(store, "held");
    await store.close();
    await store.close();
    expect(store.size).toEqual({ entries: 0, bytes: 0 });
    const calls = [
      store.get("record"),
      store.lock("record", "fp", 10),
      store.extend(lease, 10),
      store.set(lease, answer(), 10),
      store.unlock(lease),
      store.delete("record"),
    ];
    for (const call of calls) await expect(call).rejects.toThrow(StoreUnavailableError);
  });

  it("keeps a lease when a response cannot be stored", async () => {
    const store = memoryStore();
    const lease = await acquire(store, "key");
    const wrong = { ...answer(), statusCode: 0 };
    await expect(store.set(lease, wrong, HOUR_MS)).rejects.toThrow(RangeError);
    expect(await store.extend(lease, 10)).toBe(true);
  });

  it("names every mistake in its options at once", () => {
    const options = { maxEntries: 0, maxBytes: 1.5, onEvict: "log", maxSize: 1 };
    const wrong = options as unknown as Parameters<typeof memoryStore>[0];
    expect(() => memoryStore(wrong)).toThrow(OptionsError);
    expect(() => memoryStore(wrong)).toThrow(
      /^memoryStore: unknown option 'maxSize'.*; maxEntries must .*; maxBytes must .*; onEvict must be a function/,
    );
  });
});
