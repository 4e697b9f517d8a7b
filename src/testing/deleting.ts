import assert from "node:assert/strict";
import {
  acquire,
  answer,
  complete,
  expectCompleted,
  expectFree,
  expectHeld,
  LONG_MS,
  PAST_MS,
  SHORT_MS,
  type Rules,
} from "./stage.js";

export const deleting: Rules = {
  "delete of an empty key says that it was empty": async ({ store, key }) => {
    assert.equal(await store.delete(key()), false);
    await expectFree(store, key());
  },

  "delete of a held key takes the lease from its holder": async ({ store, key }) => {
    const lease = await acquire(store, key());
    assert.equal(await store.delete(key()), true);
    assert.equal(await store.delete(key()), false);
    assert.equal(await store.extend(lease, LONG_MS), false);
    await expectFree(store, key());
  },

  "delete of a completed key lets it be claimed and completed anew": async ({ store, key }) => {
    await complete(store, await acquire(store, key()));
    assert.equal(await store.delete(key()), true);
    assert.equal(await store.get(key()), undefined);
    assert.equal(await store.delete(key()), false);
    const response = await complete(store, await acquire(store, key()));
    await expectCompleted(store, key(), response);
  },

  "delete of what has expired says that the key was empty": async ({ store, key, elapse }) => {
    await acquire(store, key("held"), SHORT_MS);
    const lease = await acquire(store, key("completed"));
    await complete(store, lease, answer({}, SHORT_MS), SHORT_MS);
    await elapse(PAST_MS);
    assert.equal(await store.delete(key("held")), false);
    assert.equal(await store.delete(key("completed")), false);
  },

  "the holder of a deleted lease loses to whoever claimed the key since": async ({
    store,
    key,
  }) => {
    const deposed = await acquire(store, key());
    await store.delete(key());
    const successor = await acquire(store, key());
    assert.equal((await store.set(deposed, answer(), LONG_MS)).state, "lost");
    await expectHeld(store, key());
    await expectCompleted(store, key(), await complete(store, successor));
  },

  "the writer of a deleted record cannot bring it back over a successor's lease": async ({
    store,
    key,
  }) => {
    const lease = await acquire(store, key());
    const response = await complete(store, lease);
    await store.delete(key());
    await acquire(store, key());
    assert.equal((await store.set(lease, response, LONG_MS)).state, "lost");
    await expectHeld(store, key());
  },
};
