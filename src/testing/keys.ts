import assert from "node:assert/strict";
import {
  acquire,
  answer,
  complete,
  expectCompleted,
  expectFree,
  expectHeld,
  LONG_MS,
  type Rules,
} from "./stage.js";

const VISIBLE_ASCII = String.fromCharCode(...Array.from({ length: 94 }, (_, at) => at + 0x21));
const LONGEST = 255;
const MANY = 100;

export const keys: Rules = {
  "a key and a fingerprint may have every visible ASCII character": async ({ store, key }) => {
    const name = key(VISIBLE_ASCII);
    const lease = await acquire(store, name, LONG_MS, VISIBLE_ASCII);
    assert.equal(lease.key, name);
    assert.equal(lease.fingerprint, VISIBLE_ASCII);
    await expectHeld(store, name);
    const response = await complete(store, lease, answer({ fingerprint: VISIBLE_ASCII }));
    await expectCompleted(store, name, response);
  },

  "a key and a fingerprint may be 255 long, and count to the last character": async ({
    store,
    key,
  }) => {
    const name = key().padEnd(LONGEST - 1, "x");
    const fingerprint = "f".repeat(LONGEST);
    const lease = await acquire(store, `${name}1`, LONG_MS, fingerprint);
    await expectFree(store, `${name}2`);
    const response = await complete(store, lease, answer({ fingerprint }));
    await expectCompleted(store, `${name}1`, response);
    await expectHeld(store, `${name}2`);
  },

  "keys that look like code, patterns or parts of each other are independent": async ({
    store,
    key,
  }) => {
    const one = key("one");
    const lookalikes = [
      one,
      key("ONE"),
      `${one}:`,
      `${one}:lock`,
      `${one}*`,
      `${one}?`,
      `${one}\\u0000`,
      `${one}%00`,
      `{${one}}`,
      `["${one}"]`,
      `{"key":"${one}"}`,
      `'..redis.call('DEL','${one}')..'`,
      `__proto__.${one}`,
      `../${one}`,
    ];
    const leases = [];
    for (const name of lookalikes) leases.push(await acquire(store, name));
    for (const [at, lease] of leases.entries()) {
      if (at % 3 === 0) await complete(store, lease, answer({ fingerprint: `of-${at}` }));
      if (at % 3 === 1) await store.unlock(lease);
    }
    for (const [at, name] of lookalikes.entries()) {
      const found = await store.get(name);
      assert.equal(found?.fingerprint, at % 3 === 0 ? `of-${at}` : undefined, name);
      if (at % 3 === 1) await expectFree(store, name);
      if (at % 3 === 2) await expectHeld(store, name);
    }
  },

  "many keys at once do not disturb each other": async ({ store, key }) => {
    const names = Array.from({ length: MANY }, (_, at) => key(`${at}`));
    const stored = await Promise.all(
      names.map(async (name, at) => {
        const lease = await acquire(store, name, LONG_MS, `of-${at}`);
        return complete(store, lease, answer({ fingerprint: `of-${at}` }));
      }),
    );
    await Promise.all(stored.map((response, at) => expectCompleted(store, key(`${at}`), response)));
  },

  "the verbs work without their store": async ({ store, key }) => {
    // oxlint-disable-next-line typescript/unbound-method -- that they are not methods is what is tested
    const { get, lock, extend, set, unlock, delete: remove } = store;
    const claim = await lock(key(), "fingerprint", LONG_MS);
    assert.equal(claim.state, "acquired");
    assert.equal(await extend(claim.lease, LONG_MS), true);
    assert.equal((await set(claim.lease, answer(), LONG_MS)).state, "stored");
    await unlock(claim.lease);
    assert.ok(await get(key()));
    assert.equal(await remove(key()), true);
  },
};
