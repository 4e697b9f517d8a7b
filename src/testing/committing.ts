import assert from "node:assert/strict";
import type { CachedResponse, Lease, SetResult, Store } from "../store.js";
import {
  acquire,
  answer,
  complete,
  expectCompleted,
  expectFree,
  expectHeld,
  expectSame,
  forged,
  LONG_MS,
  PAST_MS,
  SHORT_MS,
  type Rules,
} from "./stage.js";

export const committing: Rules = {
  "a commit completes the key like a set": async ({ store, key }) => {
    const response = answer();
    assert.deepEqual(await commit(store, await acquire(store, key()), response), {
      state: "stored",
    });
    await expectCompleted(store, key(), response);
  },

  "a committed record ends with its TTL": async ({ store, key, elapse }) => {
    const response = answer({}, SHORT_MS);
    await commit(store, await acquire(store, key()), response, SHORT_MS);
    await elapse(PAST_MS);
    await expectFree(store, key());
  },

  "a repeated commit says stored and changes nothing, whatever it brings": async ({
    store,
    key,
  }) => {
    const lease = await acquire(store, key());
    const first = answer();
    await commit(store, lease, first);
    for (const response of [first, answer({ statusCode: 500 })]) {
      assert.deepEqual(await commit(store, lease, response), { state: "stored" });
    }
    await expectCompleted(store, key(), first);
  },

  "a commit after a set of the same holder says stored": async ({ store, key }) => {
    const lease = await acquire(store, key());
    const response = await complete(store, lease);
    assert.deepEqual(await commit(store, lease, answer()), { state: "stored" });
    await expectCompleted(store, key(), response);
  },

  "a stale holder loses to the successor who holds the key, and does it no harm": async ({
    store,
    key,
    elapse,
  }) => {
    const stale = await acquire(store, key(), SHORT_MS);
    await elapse(PAST_MS);
    const successor = await acquire(store, key());
    const lost = await commit(store, stale);
    assert.equal(lost.state, "lost");
    assert.equal("winner" in lost ? lost.winner : undefined, undefined, "nobody has won yet");
    await expectHeld(store, key());
    await expectCompleted(store, key(), await complete(store, successor));
  },

  "a stale holder loses to the successor who completed the key, and gets its record": async ({
    store,
    key,
    elapse,
  }) => {
    const stale = await acquire(store, key(), SHORT_MS);
    await elapse(PAST_MS);
    const winner = await complete(store, await acquire(store, key()));
    const lost = await commit(store, stale);
    assert.equal(lost.state, "lost");
    expectSame("winner" in lost ? lost.winner : undefined, winner);
    await expectCompleted(store, key(), winner);
  },

  "without the token nobody commits to a held key": async ({ store, key }) => {
    const lease = await acquire(store, key());
    assert.equal((await commit(store, forged(lease))).state, "lost");
    await expectHeld(store, key());
  },

  "unlike a set, a commit needs the key to be held: whoever gave it up writes nothing": async ({
    store,
    key,
  }) => {
    const lease = await acquire(store, key());
    await store.unlock(lease);
    assert.equal((await commit(store, lease)).state, "lost");
    await expectFree(store, key());
  },
};

/** The writes are the store's own business; what they are committed with is the contract's. */
async function commit(
  store: Store,
  lease: Lease,
  response: CachedResponse = answer(),
  ttlMs = LONG_MS,
): Promise<SetResult> {
  const result = await store.commit?.(lease, response, ttlMs, []);
  assert.ok(result, "the store should have commit");
  return result;
}
