import assert from "node:assert/strict";
import type { CachedResponse } from "../store.js";
import {
  acquire,
  answer,
  complete,
  completeEmpty,
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

export const completing: Rules = {
  "a record outlives the lease under which it was set": async ({ store, key, elapse }) => {
    const lease = await acquire(store, key(), SHORT_MS);
    const response = await complete(store, lease);
    await elapse(PAST_MS);
    await expectCompleted(store, key(), response);
  },

  "a record ends with its TTL, though its lease was longer": async ({ store, key, elapse }) => {
    const lease = await acquire(store, key(), LONG_MS);
    await complete(store, lease, answer({}, SHORT_MS), SHORT_MS);
    await elapse(PAST_MS);
    assert.equal(await store.get(key()), undefined, "an expired record is not found");
    assert.equal(await store.extend(lease, LONG_MS), false);
    await expectFree(store, key());
  },

  "an expired record is replaced by the next holder's": async ({ store, key, elapse }) => {
    await complete(store, await acquire(store, key()), answer({}, SHORT_MS), SHORT_MS);
    await elapse(PAST_MS);
    const response = await complete(store, await acquire(store, key()));
    await expectCompleted(store, key(), response);
  },

  "a holder whose lease ran out still stores its response if nobody came": async ({
    store,
    key,
    elapse,
  }) => {
    const lease = await acquire(store, key(), SHORT_MS);
    await elapse(PAST_MS);
    await expectCompleted(store, key(), await completeEmpty(store, lease));
  },

  "a holder that unlocked may still store: the key is empty": async ({ store, key }) => {
    const lease = await acquire(store, key());
    await store.unlock(lease);
    await expectCompleted(store, key(), await completeEmpty(store, lease));
  },

  "a stale holder loses to the successor who holds the key, and does it no harm": async ({
    store,
    key,
    elapse,
  }) => {
    const stale = await acquire(store, key(), SHORT_MS);
    await elapse(PAST_MS);
    const successor = await acquire(store, key());
    const lost = await store.set(stale, answer(), LONG_MS);
    assert.equal(lost.state, "lost");
    assert.equal("winner" in lost ? lost.winner : undefined, undefined, "nobody has won yet");
    await expectHeld(store, key());
    assert.equal(await store.extend(successor, LONG_MS), true);
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
    await store.unlock(stale);
    assert.equal(await store.extend(stale, LONG_MS), false);
    for (let turn = 0; turn < 2; turn += 1) {
      expectLostTo(winner, await store.set(stale, answer(), LONG_MS));
    }
    await expectCompleted(store, key(), winner);
  },

  "without the token nobody completes a held key": async ({ store, key }) => {
    const lease = await acquire(store, key());
    assert.equal((await store.set(forged(lease), answer(), LONG_MS)).state, "lost");
    await expectHeld(store, key());
    await expectCompleted(store, key(), await complete(store, lease));
  },

  "without the token nobody changes a stored record": async ({ store, key }) => {
    const lease = await acquire(store, key());
    const winner = await complete(store, lease);
    expectLostTo(winner, await store.set(forged(lease), answer(), LONG_MS));
    await expectCompleted(store, key(), winner);
  },

  "a repeated set says stored and changes nothing, whatever it brings": async ({ store, key }) => {
    const lease = await acquire(store, key());
    const first = await complete(store, lease);
    await complete(store, lease, first);
    await complete(store, lease, answer({ statusCode: 500 }));
    await expectCompleted(store, key(), first);
  },

  "a repeated set does not prolong the record": async ({ store, key, elapse }) => {
    const lease = await acquire(store, key());
    const response = answer({}, SHORT_MS);
    await complete(store, lease, response, SHORT_MS);
    await complete(store, lease, response, LONG_MS);
    await elapse(PAST_MS);
    await expectFree(store, key());
  },

  "a set that was sent twice at once is stored once and says stored twice": async ({
    store,
    key,
  }) => {
    const lease = await acquire(store, key());
    const response = answer();
    await Promise.all([complete(store, lease, response), complete(store, lease, response)]);
    await expectCompleted(store, key(), response);
  },

  "of two stale holders who set at once one is stored, and the other loses to it": async ({
    store,
    key,
    elapse,
  }) => {
    const leases = [];
    for (let turn = 0; turn < 2; turn += 1) {
      leases.push(await acquire(store, key(), SHORT_MS));
      await elapse(PAST_MS);
    }
    const offers = leases.map((lease) => ({ lease, response: answer() }));
    const results = await Promise.all(
      offers.map(({ lease, response }) => store.set(lease, response, LONG_MS)),
    );
    assert.deepEqual(results.map((result) => result.state).toSorted(), ["lost", "stored"]);
    const stored = offers[results.findIndex((result) => result.state === "stored")];
    assert.ok(stored);
    for (const result of results) {
      if ("winner" in result && result.winner) expectSame(result.winner, stored.response);
    }
    await expectCompleted(store, key(), stored.response);
  },

  "extend and unlock of a completed key change nothing": async ({ store, key }) => {
    const lease = await acquire(store, key());
    const response = await complete(store, lease);
    assert.equal(await store.extend(lease, LONG_MS), false);
    await store.unlock(lease);
    await expectCompleted(store, key(), response);
  },

  "extend of a completed key does not shorten the record's time": async ({
    store,
    key,
    elapse,
  }) => {
    const lease = await acquire(store, key());
    const response = await complete(store, lease);
    await store.extend(lease, SHORT_MS);
    await elapse(PAST_MS);
    await expectCompleted(store, key(), response);
  },

  "extend of a completed key does not prolong the record's time": async ({
    store,
    key,
    elapse,
  }) => {
    const lease = await acquire(store, key());
    await complete(store, lease, answer({}, SHORT_MS), SHORT_MS);
    await store.extend(lease, LONG_MS);
    await elapse(PAST_MS);
    await expectFree(store, key());
  },
};

function expectLostTo(winner: CachedResponse, result: { state: string; winner?: CachedResponse }) {
  assert.equal(result.state, "lost");
  expectSame(result.winner, winner);
}
