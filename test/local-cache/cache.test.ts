/** What the cache answers itself, what it leaves to the store, and what it forgets. */
import { expect, test } from "vitest";
import { idempotency, type CachedResponse, type Store } from "../../src/index.js";
import { acquire, answer, complete, FINGERPRINT, LONG_MS } from "../../src/testing/stage.js";
import { withLocalCache, type LocalCacheOptions } from "../../stores/local-cache.js";
import { memoryStore } from "../../stores/memory.js";
import { fakeClock } from "../support/clock.js";
import { deferred } from "../support/deferred.js";
import { serve } from "../support/http.js";

/** A store shared by processes, of which one has the cache, and what that one asks the store. */
function cached(options?: LocalCacheOptions, shared: Store = memoryStore()) {
  const asked: string[] = [];
  const noted: Store = {
    ...shared,
    get: (key) => note("get", () => shared.get(key)),
    lock: (...args) => note("lock", () => shared.lock(...args)),
    set: (...args) => note("set", () => shared.set(...args)),
  };
  function note<T>(verb: string, call: () => Promise<T>): Promise<T> {
    asked.push(verb);
    return call();
  }
  const takeAsked = (): string[] => asked.splice(0);
  return { shared, store: withLocalCache(noted, options), asked: takeAsked };
}

async function completeBy(store: Store, key: string, response?: CachedResponse) {
  return await complete(store, await acquire(store, key), response);
}

async function replayOf(store: Store, key: string): Promise<CachedResponse> {
  const claim = await store.lock(key, FINGERPRINT, LONG_MS);
  if (claim.state !== "completed") throw new Error(`${key} is ${claim.state}.`);
  return claim.response;
}

/** Which of the keys the cache still knows, found without changing who was asked for last. */
async function known(
  { store, asked }: ReturnType<typeof cached>,
  keys: readonly string[],
): Promise<string[]> {
  const found: string[] = [];
  for (const key of keys) {
    asked();
    await store.get(key);
    if (asked().length === 0) found.push(key);
  }
  return found;
}

test("what this process stored is replayed without asking the store", async () => {
  const { store, asked } = cached();
  const response = await completeBy(store, "k");
  expect(asked()).toEqual(["lock", "set"]);

  expect(await replayOf(store, "k")).toEqual(response);
  expect(await store.get("k")).toEqual(response);
  expect(asked()).toEqual([]);
});

test.each([
  ["lock", (store: Store) => replayOf(store, "k")],
  ["get", (store: Store) => store.get("k")],
])("what another process stored is learned from the first %s", async (verb, find) => {
  const { shared, store, asked } = cached();
  const response = await completeBy(shared, "k");

  expect(await find(store)).toEqual(response);
  expect(asked()).toEqual([verb]);
  expect(await find(store)).toEqual(response);
  expect(asked()).toEqual([]);
});

test("a holder that lost learns the winner's record", async () => {
  using clock = fakeClock();
  const { shared, store, asked } = cached();
  const late = await acquire(store, "k", 10);
  await clock.advance(20);
  const winner = await completeBy(shared, "k");

  expect(await store.set(late, answer(), LONG_MS)).toEqual({ state: "lost", winner });
  asked();
  expect(await replayOf(store, "k")).toEqual(winner);
  expect(asked()).toEqual([]);
});

test("C45: a key in progress is asked for every time", async () => {
  const { shared, store, asked } = cached();
  const lease = await acquire(shared, "k");
  for (let turn = 0; turn < 2; turn += 1) {
    expect(await store.lock("k", FINGERPRINT, LONG_MS)).toMatchObject({ state: "in-progress" });
    expect(await store.get("k")).toBeUndefined();
  }
  expect(asked()).toEqual(["lock", "get", "lock", "get"]);

  const response = await complete(shared, lease);
  expect(await replayOf(store, "k")).toEqual(response);
});

test("C45: an expired record is not answered, by whichever clock it ended first", async () => {
  using clock = fakeClock();
  const { store, asked } = cached();
  await store.set(await acquire(store, "a"), answer({}, 1_000), 1_000);
  await store.set(await acquire(store, "b"), answer({}, 60_000), 60_000);
  asked();

  await clock.advance(999);
  expect(await store.get("a")).toBeDefined();
  expect(asked()).toEqual([]);
  await clock.advance(1);
  expect(await store.get("a")).toBeUndefined();
  expect(asked()).toEqual(["get"]);

  clock.jumpWallClock(60_000);
  await store.get("b");
  expect(asked()).toEqual(["get"]);
});

test("a clock set back does not prolong what this process stored", async () => {
  using clock = fakeClock();
  const { store, asked } = cached();
  await store.set(await acquire(store, "k"), answer({}, 60_000), 60_000);
  clock.jumpWallClock(-60_000);
  await clock.advance(59_999);
  asked();

  expect(await store.get("k")).toBeDefined();
  expect(asked()).toEqual([]);
  await clock.advance(1);
  expect(await store.get("k")).toBeUndefined();
  expect(asked()).toEqual(["get"]);
});

test("a record whose writing failed is not replayed before the store has it", async () => {
  const shared = memoryStore();
  const failing: Store = { ...shared, set: () => Promise.reject(new Error("down")) };
  const { store, asked } = cached({}, failing);
  await expect(completeBy(store, "k")).rejects.toThrow("down");
  asked();

  expect(await store.get("k")).toBeUndefined();
  expect(await store.lock("k", FINGERPRINT, LONG_MS)).toMatchObject({ state: "in-progress" });
  expect(asked()).toEqual(["get", "lock"]);
});

test("P1: after a lost reply the record that stands is replayed, not the one that was offered again", async () => {
  const shared = memoryStore();
  let losesReply = true;
  const flaky: Store = {
    ...shared,
    set: async (...args) => {
      const result = await shared.set(...args);
      if (losesReply) throw new Error("no reply");
      return result;
    },
  };
  const { store } = cached({}, flaky);
  const [first, second] = [answer(), answer()];
  const lease = await acquire(store, "k");
  await expect(store.set(lease, first, LONG_MS)).rejects.toThrow("no reply");
  losesReply = false;

  expect(await store.set(lease, second, LONG_MS)).toEqual({ state: "stored" });
  expect(await replayOf(store, "k")).toEqual(first);
  expect(await replayOf(store, "k")).toEqual(first);
});

test("P6: a tombstone stays one", async () => {
  const { shared, store, asked } = cached();
  const body = new Uint8Array();
  const response = await completeBy(
    shared,
    "k",
    answer({ tombstone: "streamed", headers: [], body }),
  );
  await replayOf(store, "k");
  asked();

  expect(await replayOf(store, "k")).toMatchObject({
    tombstone: "streamed",
    statusCode: response.statusCode,
  });
  expect(asked()).toEqual([]);
});

test("delete is heard in this process at once, and by others only where they ask the store", async () => {
  const shared = memoryStore();
  const [here, there] = [cached({}, shared), cached({}, shared)];
  const response = await completeBy(here.store, "k");
  await replayOf(there.store, "k");

  expect(await here.store.delete("k")).toBe(true);
  expect(await here.store.get("k")).toBeUndefined();
  expect(await there.store.get("k")).toEqual(response);
});

test("delete is heard where the record was on its way when it came, and where it failed", async () => {
  const shared = memoryStore();
  const gate = deferred();
  const slow: Store = {
    ...shared,
    lock: async (...args) => {
      const result = await shared.lock(...args);
      await gate.promise;
      return result;
    },
    delete: async (key) => {
      await shared.delete(key);
      throw new Error("no reply");
    },
  };
  const { store } = cached({}, slow);
  await completeBy(shared, "k");
  const replay = replayOf(store, "k");
  await expect(store.delete("k")).rejects.toThrow("no reply");
  gate.resolve();
  await replay;

  expect(await store.get("k")).toBeUndefined();
});

test("P7: at most maxEntries are kept; those go first that were not asked for longest", async () => {
  const party = cached({ maxEntries: 3 });
  for (const key of ["a", "b", "c"]) await completeBy(party.store, key);
  await replayOf(party.store, "a");
  await completeBy(party.store, "d");
  await replayOf(party.store, "a");
  await replayOf(party.store, "c");
  await completeBy(party.store, "e");

  expect(await known(party, ["a"])).toEqual(["a"]);
  expect(await known(party, ["c"])).toEqual(["c"]);
  expect(await known(party, ["e"])).toEqual(["e"]);
  // Asked for, they are learned again, and others go.
  expect(await known(party, ["b", "d"])).toEqual([]);
});

test("P7: those that are replayed as soon as they are kept go like others", async () => {
  const party = cached({ maxEntries: 3 });
  for (const key of ["a", "b", "c", "d", "e"]) {
    await completeBy(party.store, key);
    await replayOf(party.store, key);
  }

  expect(await known(party, ["c", "d", "e"])).toEqual(["c", "d", "e"]);
  expect(await known(party, ["a", "b"])).toEqual([]);
});

test("P7: what was deleted leaves its place to the others", async () => {
  const party = cached({ maxEntries: 3 });
  for (const key of ["a", "b", "c"]) await completeBy(party.store, key);
  await replayOf(party.store, "a");
  await party.store.delete("a");
  for (const key of ["d", "e"]) await completeBy(party.store, key);

  expect(await known(party, ["c", "d", "e"])).toEqual(["c", "d", "e"]);
  expect(await known(party, ["b"])).toEqual([]);
});

test("P7: at most maxBytes are kept, and a large response is left to the store", async () => {
  const party = cached({ maxBytes: 64 * 1024 });
  const keys = Array.from({ length: 20 }, (_, at) => `${at}`);
  for (const key of keys) await completeBy(party.store, key, answer({ body: Buffer.alloc(6_000) }));
  const newest = keys.slice(-9);
  expect(await known(party, newest)).toEqual(newest);
  expect(await known(party, keys.slice(0, 1))).toEqual([]);

  await completeBy(party.store, "large", answer({ body: Buffer.alloc(8 * 1024) }));
  expect(await known(party, ["large"])).toEqual([]);
  expect(await known(party, ["large"])).toEqual([]);
  expect((await replayOf(party.store, "large")).body).toHaveLength(8 * 1024);
});

test("what the caller does to a response meanwhile changes nothing in the cache", async () => {
  const shared = memoryStore();
  const gate = deferred();
  const slow: Store = {
    ...shared,
    set: async (...args) => {
      const result = shared.set(...args);
      await gate.promise;
      return await result;
    },
  };
  const { store, asked } = cached({}, slow);
  const body = Buffer.from("as it was");
  const storing = completeBy(store, "k", answer({ body }));
  await new Promise(setImmediate);
  body.fill(0);
  gate.resolve();
  await storing;
  asked();

  expect(Buffer.from((await replayOf(store, "k")).body).toString()).toBe("as it was");
  expect(asked()).toEqual([]);
});

test("close forgets everything and closes the store", async () => {
  const { store, asked } = cached();
  await completeBy(store, "k");
  await store.close?.();
  asked();

  await expect(store.get("k")).rejects.toMatchObject({ code: "STORE_UNAVAILABLE" });
  expect(asked()).toEqual(["get"]);
});

test("over http: replays ask the store nothing; another body under the key is still refused", async () => {
  const { store, asked } = cached();
  const safe = idempotency(store);
  await using server = await serve(safe.wrap((_, res) => res.writeHead(201).end("made")));
  const first = await server.send({ key: "k" });
  expect(asked()).toEqual(["lock", "set"]);

  const replay = await server.send({ key: "k" });
  expect(replay.headers["idempotency-replayed"]).toBe("true");
  expect([first.text, replay.text]).toEqual(["made", "made"]);
  expect(await server.send({ key: "k", body: "another" })).toMatchObject({ status: 422 });
  expect(asked()).toEqual([]);
});

test("commit is there where the store has it, and nowhere else", () => {
  const plain = memoryStore();
  const commit: NonNullable<Store["commit"]> = () => Promise.resolve({ state: "stored" });
  expect(withLocalCache(plain)).not.toHaveProperty("commit");
  expect(withLocalCache({ ...plain, commit })).toHaveProperty("commit");
});

test("options and stores that cannot work are refused with every mistake", () => {
  const options = { maxEntries: 0, maxBytes: 1, ttlMs: 5 } as LocalCacheOptions;
  expect(() => withLocalCache(memoryStore(), options)).toThrow(
    /unknown option 'ttlMs'.*maxEntries must be.*maxBytes must be/,
  );
  expect(() => withLocalCache({ get: () => undefined } as unknown as Store)).toThrow(
    /withLocalCache: the store lacks lock, extend, set, unlock, delete/,
  );
});
