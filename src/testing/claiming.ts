import assert from "node:assert/strict";
import type { LockResult } from "../store.js";
import {
  acquire,
  answer,
  complete,
  expectCompleted,
  expectFree,
  FINGERPRINT,
  LONG_MS,
  PAST_MS,
  SHORT_MS,
  type Rules,
} from "./stage.js";

const CROWD = 200;
// The holder's clock and the store's may differ a little, and a store may round up.
const SLACK_MS = 1_000;

export const claiming: Rules = {
  "an empty key is granted, with a lease that says what was claimed and until when": async ({
    store,
    key,
  }) => {
    const claim = await store.lock(key(), FINGERPRINT, LONG_MS);
    assert.equal(claim.state, "acquired");
    const { lease } = claim;
    const now = performance.now();
    assert.equal(lease.key, key());
    assert.equal(lease.fingerprint, FINGERPRINT);
    assert.ok(lease.token.length > 0, "a lease has a token");
    assert.ok(lease.validUntil > now, "a lease just granted is valid");
    assert.ok(lease.validUntil <= now + LONG_MS, "a lease is not promised for longer than asked");
    assert.notEqual(claim.takeover, true, "nobody held the key before");
  },

  "an empty key has no record, and neither has a held one": async ({ store, key }) => {
    assert.equal(await store.get(key()), undefined);
    await acquire(store, key());
    assert.equal(await store.get(key()), undefined);
  },

  [`of ${CROWD} claims at once one is granted, and the others learn who holds the key`]: async ({
    store,
    key,
    elapse,
  }) => {
    // Votes on several servers can be split so that nobody wins. Then half as many try again.
    for (let crowd = CROWD; crowd >= 1; crowd = Math.floor(crowd / 2)) {
      const claims = await Promise.all(
        Array.from({ length: crowd }, (_, at) => store.lock(key(), `fingerprint-${at}`, LONG_MS)),
      );
      const winners = claims.filter((claim) => claim.state === "acquired");
      assert.ok(winners.length <= 1, `${winners.length} claims were granted`);
      const [winner] = winners;
      for (const claim of claims) if (claim !== winner) expectToldToWait(claim, LONG_MS);
      if (winner !== undefined) {
        expectTold(claims, winner.lease.fingerprint);
        return;
      }
      await elapse(20);
    }
    assert.fail("no claim was granted, not even a single one");
  },

  "a claim of a held key is told by whom it is held and to wait for no more than the lease":
    async ({ store, key }) => {
      await acquire(store, key(), LONG_MS, "one");
      for (const fingerprint of ["one", "another"]) {
        const claim = await store.lock(key(), fingerprint, 5 * LONG_MS);
        expectToldToWait(claim, LONG_MS);
        expectTold([claim], "one");
      }
    },

  "a claim that was not granted neither prolongs nor takes the lease": async ({
    store,
    key,
    elapse,
  }) => {
    // Long enough for a busy machine to claim it again meanwhile.
    const leaseMs = 2_000;
    const lease = await acquire(store, key(), leaseMs);
    assert.equal((await store.lock(key(), "another", LONG_MS)).state, "in-progress");
    await elapse(leaseMs + PAST_MS - SHORT_MS);
    assert.equal(await store.extend(lease, LONG_MS), false);
    await expectFree(store, key());
  },

  "a claim of a completed key gets the record, whatever its fingerprint": async ({
    store,
    key,
  }) => {
    const response = await complete(store, await acquire(store, key()));
    const claim = await store.lock(key(), "another", LONG_MS);
    assert.equal(claim.state, "completed");
    await expectCompleted(store, key(), response);
  },

  "200 claims of a completed key all get the record": async ({ store, key }) => {
    const response = await complete(store, await acquire(store, key()), answer());
    const claims = await Promise.all(
      Array.from({ length: CROWD }, () => store.lock(key(), FINGERPRINT, LONG_MS)),
    );
    assert.deepEqual(new Set(claims.map((claim) => claim.state)), new Set(["completed"]));
    await expectCompleted(store, key(), response);
  },

  "every acquisition has a token of its own, also on the same key": async ({ store, key }) => {
    const tokens = new Set<string>();
    for (let turn = 0; turn < 20; turn += 1) {
      const lease = await acquire(store, key());
      tokens.add(lease.token);
      await store.unlock(lease);
      tokens.add((await acquire(store, key(`${turn}`))).token);
    }
    assert.equal(tokens.size, 40);
  },
};

function expectToldToWait(claim: LockResult, leaseMs: number): void {
  assert.equal(claim.state, "in-progress");
  assert.ok(
    claim.retryAfterMs > 0 && claim.retryAfterMs <= leaseMs + SLACK_MS,
    `retryAfterMs should be within the lease, and is ${claim.retryAfterMs}`,
  );
}

/** A store that cannot tell whose fingerprint holds the key may say nothing, but nothing wrong. */
function expectTold(claims: readonly LockResult[], fingerprint: string): void {
  for (const claim of claims) {
    if (claim.state === "in-progress" && claim.fingerprint !== undefined) {
      assert.equal(claim.fingerprint, fingerprint, "the fingerprint should be the holder's");
    }
  }
}
