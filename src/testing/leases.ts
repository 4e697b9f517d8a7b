import assert from "node:assert/strict";
import type { Lease } from "../store.js";
import {
  acquire,
  answer,
  complete,
  expectCompleted,
  expectFree,
  expectHeld,
  FINGERPRINT,
  forged,
  LONG_MS,
  PAST_MS,
  SHORT_MS,
  type Rules,
  type Stage,
} from "./stage.js";

export const leases: Rules = {
  "a lease ends by itself, and the next claim is granted": async ({ store, key, elapse }) => {
    const first = await acquire(store, key(), SHORT_MS);
    await elapse(PAST_MS);
    assert.equal(await store.get(key()), undefined);
    const second = await acquire(store, key());
    assert.notEqual(second.token, first.token);
    await expectHeld(store, key());
  },

  "a claim after an unlock or an expired record is not a takeover": async ({
    store,
    key,
    elapse,
  }) => {
    await store.unlock(await acquire(store, key("unlocked")));
    const lease = await acquire(store, key("expired"));
    await complete(store, lease, answer({}, SHORT_MS), SHORT_MS);
    await elapse(PAST_MS);
    for (const label of ["unlocked", "expired"]) {
      const claim = await store.lock(key(label), FINGERPRINT, LONG_MS);
      assert.equal(claim.state, "acquired");
      assert.notEqual(claim.takeover, true, `the key was ${label}`);
    }
  },

  "extend holds the key beyond its first lease": async (stage) => {
    const { lease, key, leaseMs } = await extendedInTime(stage);
    await stage.elapse(leaseMs + PAST_MS - SHORT_MS);
    await expectHeld(stage.store, key);
    await complete(stage.store, lease);
  },

  "an extended lease ends, too": async ({ store, key, elapse }) => {
    const lease = await acquire(store, key());
    assert.equal(await store.extend(lease, SHORT_MS), true);
    await elapse(PAST_MS);
    await expectFree(store, key());
  },

  "a lease can be extended again and again": async ({ store, key }) => {
    const lease = await acquire(store, key());
    for (let turn = 0; turn < 5; turn += 1) assert.equal(await store.extend(lease, LONG_MS), true);
    await expectHeld(store, key());
  },

  "a lease that ran out cannot be extended, though nobody came": async ({ store, key, elapse }) => {
    const lease = await acquire(store, key(), SHORT_MS);
    await elapse(PAST_MS);
    assert.equal(await store.extend(lease, LONG_MS), false);
    await expectFree(store, key());
  },

  "a stale holder cannot extend what its successor holds": async (stage) => {
    const { stale, successor } = await takeOver(stage, SHORT_MS);
    assert.equal(await stage.store.extend(stale, LONG_MS), false);
    await stage.elapse(PAST_MS);
    assert.equal(await stage.store.extend(successor, LONG_MS), false);
    await expectFree(stage.store, stage.key());
  },

  "a stale holder's unlock does not free what its successor holds": async (stage) => {
    const { stale, successor } = await takeOver(stage, LONG_MS);
    await stage.store.unlock(stale);
    await expectHeld(stage.store, stage.key());
    assert.equal(await stage.store.extend(successor, LONG_MS), true);
  },

  "without its token nobody can extend a lease": async ({ store, key, elapse }) => {
    const lease = await acquire(store, key(), SHORT_MS);
    assert.equal(await store.extend(forged(lease), LONG_MS), false);
    await elapse(PAST_MS);
    await expectFree(store, key());
  },

  "without its token nobody can unlock a lease": async ({ store, key }) => {
    const lease = await acquire(store, key());
    await store.unlock(forged(lease));
    await expectHeld(store, key());
    assert.equal(await store.extend(lease, LONG_MS), true);
  },

  "extend and unlock of a key that nobody ever claimed change nothing": async ({ store, key }) => {
    const lease = { ...(await acquire(store, key("claimed"))), key: key("never-claimed") };
    assert.equal(await store.extend(lease, LONG_MS), false);
    await store.unlock(lease);
    await expectFree(store, key("never-claimed"));
    await expectHeld(store, key("claimed"));
  },

  "unlock frees the key at once": async ({ store, key }) => {
    await store.unlock(await acquire(store, key()));
    await expectFree(store, key());
  },

  "what was unlocked cannot be extended": async ({ store, key }) => {
    const lease = await acquire(store, key());
    await store.unlock(lease);
    assert.equal(await store.extend(lease, LONG_MS), false);
    await expectFree(store, key());
  },

  "a second unlock is harmless and does not free a successor's lease": async ({ store, key }) => {
    const lease = await acquire(store, key());
    await store.unlock(lease);
    await store.unlock(lease);
    const successor = await acquire(store, key());
    await store.unlock(lease);
    await expectHeld(store, key());
    assert.equal(await store.extend(successor, LONG_MS), true);
  },

  "a lease is data: its copy, gone through JSON, extends, sets and unlocks": async ({
    store,
    key,
  }) => {
    const copy = async (label: string): Promise<Lease> =>
      JSON.parse(JSON.stringify(await acquire(store, key(label)))) as Lease;
    const [first, second] = [await copy("first"), await copy("second")];
    assert.equal(await store.extend(first, LONG_MS), true);
    await expectCompleted(store, key("first"), await complete(store, first));
    await store.unlock(second);
    await expectFree(store, key("second"));
  },
};

/**
 * A lease that was extended while it held. On a busy machine a short one may be over before the store is asked: that proves
 * nothing, and it is tried with a longer one.
 */
async function extendedInTime({ store, key: named }: Stage) {
  for (let leaseMs = SHORT_MS; ; leaseMs *= 4) {
    const key = named(`extended-${leaseMs}`);
    const startedAt = performance.now();
    const lease = await acquire(store, key, leaseMs);
    if (await store.extend(lease, LONG_MS)) return { lease, key, leaseMs };
    const tookMs = performance.now() - startedAt;
    assert.ok(tookMs >= leaseMs, `a lease of ${leaseMs} ms should hold after ${tookMs} ms`);
  }
}

/** A holder whose lease ran out, and the one who claimed the key after it. */
async function takeOver({ store, key, elapse }: Stage, leaseMs: number) {
  const stale = await acquire(store, key(), SHORT_MS);
  await elapse(PAST_MS);
  return { stale, successor: await acquire(store, key(), leaseMs) };
}
