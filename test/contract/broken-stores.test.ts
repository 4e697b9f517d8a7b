/** The contract is tested itself: it lets a plain right store pass, and finds every store with a flaw. */
import { randomUUID } from "node:crypto";
import { describe, expect, it, vi } from "vitest";
import type { CachedResponse, Lease, Store } from "../../src/store.js";
import { storeContract, type Runner, type StoreUnderTest } from "../../src/testing.js";
import { memoryStore } from "../../stores/memory.js";

/** Each a fault that real stores have had, and a part of the name of one test that has to find it. */
const FLAWS = {
  setIgnoresOwner: "a stale holder loses to the successor who holds the key",
  unlockIgnoresOwner: "a stale holder's unlock does not free what its successor holds",
  extendIgnoresOwner: "a stale holder cannot extend what its successor holds",
  extendRevives: "a lease that ran out cannot be extended, though nobody came",
  extendAdoptsEmpty: "extend and unlock of a key that nobody ever claimed",
  extendDoesNothing: "extend holds the key beyond its first lease",
  extendTouchesRecord: "extend of a completed key does not prolong",
  unlockDropsRecord: "extend and unlock of a completed key change nothing",
  unlockWaitsForLease: "unlock frees the key at once",
  setOverwritesOwnRecord: "a repeated set says stored and changes nothing",
  setOverwritesForeignRecord: "without the token nobody changes a stored record",
  setProlongsRecord: "a repeated set does not prolong the record",
  setRepeatedLoses: "a repeated set says stored and changes nothing",
  setRefusesEmptyKey: "a holder whose lease ran out still stores",
  setForgetsWinner: "a stale holder loses to the successor who completed the key",
  setKeepsLeaseTime: "a record outlives the lease",
  leaseNeverEnds: "a lease ends by itself",
  recordNeverEnds: "a record ends with its TTL",
  lockChecksThenWaits: "claims at once one is granted",
  lockProlongsOthers: "a claim that was not granted neither prolongs nor takes the lease",
  lockComparesFingerprints: "a claim of a completed key gets the record, whatever its fingerprint",
  lockReusesToken: "every acquisition has a token of its own",
  lockTellsAskersFingerprint: "a claim of a held key is told by whom it is held",
  lockTellsNoTime: "a claim of a held key is told by whom it is held",
  lockAlwaysTakesOver: "an empty key is granted",
  lockPromisesTooMuch: "an empty key is granted",
  getShowsExpired: "a record ends with its TTL",
  deleteAlwaysTrue: "delete of an empty key says that it was empty",
  deleteSparesHeld: "delete of a held key takes the lease",
  deleteSeesExpired: "delete of what has expired",
  aliasesGiven: "what was given may be changed",
  aliasesReturned: "what was returned may be changed",
  bodyAsText: "a body of any bytes",
  bodyOfWholeBuffer: "only that part is kept",
  bodyEndsAt64KiB: "a body of 1 MiB",
  headersAsObject: "headers keep order, case, repetitions",
  trailersDropped: "trailers come back like headers",
  tombstoneDropped: "a tombstone comes back with its reason",
  fingerprintOfLease: "status, message, times and fingerprint",
  expiryRecomputed: "status, message, times and fingerprint",
  keysFoldCase: "keys that look like code, patterns or parts",
  keysCutShort: "255 long, and count to the last character",
  keysShareRecords: "many keys at once",
  needsThis: "the verbs work without their store",
} as const;

type Flaw = keyof typeof FLAWS;

interface Slot {
  token: string;
  fingerprint: string;
  until: number;
  response?: CachedResponse;
}

/** The contract in as few lines as it takes, each of which can be got wrong by name. */
function storeWith(flaw?: Flaw): StoreUnderTest {
  const has = (name: Flaw): boolean => name === flaw;
  const slots = new Map<string, Slot>();
  let now = 0;

  const nameOf = (key: string): string => {
    if (has("keysFoldCase")) return key.toLowerCase();
    if (has("keysCutShort")) return key.slice(0, 200);
    return has("keysShareRecords") ? key.replace(/\d+$/, "") : key;
  };
  const at = (key: string): Slot | undefined => {
    const slot = slots.get(nameOf(key));
    const endless = slot?.response ? has("recordNeverEnds") : has("leaseNeverEnds");
    return slot !== undefined && (endless || slot.until > now) ? slot : undefined;
  };
  const copy = (response: CachedResponse): CachedResponse =>
    has("aliasesReturned") ? response : structuredClone(response);
  const owns = (lease: Lease, slot: Slot | undefined): boolean => slot?.token === lease.token;

  const store: Store = {
    async get(key) {
      const slot = has("getShowsExpired") ? slots.get(nameOf(key)) : at(key);
      return slot?.response && copy(slot.response);
    },

    async lock(key, fingerprint, leaseMs) {
      const slot = at(key);
      const differs = has("lockComparesFingerprints") && slot?.fingerprint !== fingerprint;
      if (slot?.response && !differs) {
        return { state: "completed", response: copy(slot.response) };
      }
      if (slot) {
        const asker = has("lockTellsAskersFingerprint") ? fingerprint : slot.fingerprint;
        const retryAfterMs = has("lockTellsNoTime") ? 0 : slot.until - now;
        if (has("lockProlongsOthers")) slot.until = now + leaseMs;
        return { state: "in-progress", fingerprint: asker, retryAfterMs };
      }
      if (has("lockChecksThenWaits")) await Promise.resolve();
      const token = has("lockReusesToken") ? nameOf(key) : randomUUID();
      slots.set(nameOf(key), { token, fingerprint, until: now + leaseMs });
      const promisedMs = has("lockPromisesTooMuch") ? leaseMs * 2 : leaseMs;
      const lease = { key, token, fingerprint, validUntil: performance.now() + promisedMs };
      return { state: "acquired", lease, takeover: has("lockAlwaysTakesOver") };
    },

    async extend(lease, leaseMs) {
      const slot = has("extendRevives") ? slots.get(nameOf(lease.key)) : at(lease.key);
      if (slot === undefined && has("extendAdoptsEmpty")) {
        const { token, fingerprint } = lease;
        slots.set(nameOf(lease.key), { token, fingerprint, until: now + leaseMs });
        return true;
      }
      if (slot === undefined) return false;
      if (slot.response && !has("extendTouchesRecord")) return false;
      if (!owns(lease, slot) && !has("extendIgnoresOwner")) return false;
      if (!has("extendDoesNothing")) slot.until = now + leaseMs;
      return true;
    },

    async set(lease, response, ttlMs) {
      const slot = at(lease.key);
      if (slot === undefined && has("setRefusesEmptyKey")) return { state: "lost" };
      if (slot?.response && owns(lease, slot)) {
        if (has("setRepeatedLoses")) return { state: "lost", winner: copy(slot.response) };
        if (has("setProlongsRecord")) slot.until = now + ttlMs;
        if (!has("setOverwritesOwnRecord")) return { state: "stored" };
      } else if (slot?.response && !has("setOverwritesForeignRecord")) {
        if (has("setForgetsWinner")) return { state: "lost" };
        return { state: "lost", winner: copy(slot.response) };
      } else if (slot && !slot.response && !owns(lease, slot) && !has("setIgnoresOwner")) {
        return { state: "lost" };
      }
      const kept = afterLosses(response, lease);
      const until = has("setKeepsLeaseTime") && slot ? slot.until : now + ttlMs;
      const { token, fingerprint } = lease;
      slots.set(nameOf(lease.key), { token, fingerprint, until, response: kept });
      return { state: "stored" };
    },

    async unlock(lease) {
      const slot = at(lease.key);
      if (slot === undefined || has("unlockWaitsForLease")) return;
      if (slot.response && !has("unlockDropsRecord")) return;
      if (owns(lease, slot) || has("unlockIgnoresOwner")) slots.delete(nameOf(lease.key));
    },

    async delete(key) {
      const slot = has("deleteSeesExpired") ? slots.get(nameOf(key)) : at(key);
      if (has("deleteSparesHeld") && slot && !slot.response) return false;
      return (slot !== undefined && slots.delete(nameOf(key))) || has("deleteAlwaysTrue");
    },
  };

  /** What is kept of a response, with whatever is lost on the way. */
  function afterLosses(response: CachedResponse, lease: Lease): CachedResponse {
    if (has("aliasesGiven")) return response;
    const { trailers, tombstone, ...rest } = structuredClone(response);
    const { body } = rest;
    const kept: { -readonly [K in keyof CachedResponse]: CachedResponse[K] } = rest;
    if (trailers && !has("trailersDropped")) kept.trailers = trailers;
    if (tombstone && !has("tombstoneDropped")) kept.tombstone = tombstone;
    if (has("bodyAsText")) kept.body = Buffer.from(Buffer.from(body).toString());
    if (has("bodyOfWholeBuffer")) kept.body = Buffer.from(response.body.buffer);
    if (has("bodyEndsAt64KiB")) kept.body = body.slice(0, 65_536);
    if (has("headersAsObject")) kept.headers = Object.entries(Object.fromEntries(rest.headers));
    if (has("fingerprintOfLease")) kept.fingerprint = lease.fingerprint;
    if (has("expiryRecomputed")) kept.expiresAt = kept.timestamp + 1;
    return kept;
  }

  if (has("needsThis")) {
    store.delete = async function (this: Store | undefined, key) {
      if (this !== store) throw new TypeError("Cannot read properties of undefined");
      return slots.delete(nameOf(key));
    };
  }
  return {
    store,
    elapse: async (ms) => {
      now += ms;
    },
  };
}

/** As with a quorum, where each of many claims may get too few votes. */
function splittingVotes(): StoreUnderTest {
  const { store, ...rest } = storeWith();
  const claims = new Map<string, number>();
  const lock: Store["lock"] = async (key, ...args) => {
    claims.set(key, (claims.get(key) ?? 0) + 1);
    await Promise.resolve();
    const found = await store.get(key);
    const split = (claims.get(key) ?? 0) > 1 && found === undefined;
    await Promise.resolve();
    claims.delete(key);
    return split ? { state: "in-progress", retryAfterMs: 1 } : store.lock(key, ...args);
  };
  return { ...rest, store: { ...store, lock } };
}

/** Collects the contract's tests instead of running them. */
function contractOf(make: () => StoreUnderTest): Map<string, () => Promise<void>> {
  const tests = new Map<string, () => Promise<void>>();
  const runner: Runner = {
    describe: (_name, body) => {
      body();
    },
    it: (name, body) => {
      expect(tests.has(name)).toBe(false);
      tests.set(name, body);
    },
  };
  storeContract("a store", make, runner);
  return tests;
}

async function failuresOf(make: () => StoreUnderTest): Promise<string[]> {
  const failed: string[] = [];
  for (const [name, body] of contractOf(make)) {
    await body().catch(() => failed.push(name));
  }
  return failed;
}

describe("the store contract", () => {
  it("lets a store without flaw pass", async () => {
    expect(await failuresOf(() => storeWith())).toEqual([]);
  });

  it("lets a store pass that grants nobody where several claim at once", async () => {
    expect(await failuresOf(splittingVotes)).toEqual([]);
  });

  it("finds a store that never grants anything", async () => {
    const never: Store["lock"] = async () => ({ state: "in-progress", retryAfterMs: 1 });
    const failed = await failuresOf(() => {
      const { store, ...rest } = storeWith();
      return { ...rest, store: { ...store, lock: never } };
    });
    expect(failed).toContainEqual(expect.stringContaining("claims at once one is granted"));
  });

  it.each(Object.entries(FLAWS))("finds a store in which %s", async (flaw, found) => {
    const failed = await failuresOf(() => storeWith(flaw as Flaw));
    expect(failed).toContainEqual(expect.stringContaining(found));
  });

  it("asks for a fresh store for every test, and closes each", async () => {
    const close = vi.fn<() => Promise<void>>(async () => {});
    const make = vi.fn<() => StoreUnderTest>(() => ({ ...storeWith(), close }));
    const tests = contractOf(make);
    for (const body of tests.values()) await body();
    expect(make).toHaveBeenCalledTimes(tests.size);
    expect(close).toHaveBeenCalledTimes(tests.size);
  });

  it("closes the store itself where the test has no other way, also after a failure", async () => {
    const close = vi.fn<() => Promise<void>>(async () => {});
    const tests = contractOf(() => {
      const broken = storeWith("leaseNeverEnds");
      return { ...broken, store: { ...broken.store, close } };
    });
    for (const body of tests.values()) await body().catch(() => undefined);
    expect(close).toHaveBeenCalledTimes(tests.size);
  });

  it("really lets time pass where the store brings no clock of its own", async () => {
    const tests = contractOf(() => ({ store: memoryStore() }));
    const ends = tests.get("a lease ends by itself, and the next claim is granted");
    await expect(ends?.()).resolves.toBeUndefined();
  });

  it("takes the global describe and it, and says what is missing without them", () => {
    expect(() => storeContract("a store", () => storeWith())).toThrow(
      /pass your runner's as the third argument/,
    );
    const names: string[] = [];
    const globals = {
      describe: (name: string, body: () => void) => {
        names.push(name);
        body();
      },
      it: () => undefined,
    };
    Object.assign(globalThis, globals);
    try {
      storeContract("a store", () => storeWith());
    } finally {
      for (const name of Object.keys(globals)) Reflect.deleteProperty(globalThis, name);
    }
    expect(names).toContain("a store: the store contract");
  });
});
