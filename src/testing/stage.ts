/** What the contract's tests stand on: the store, a clock to move, keys of their own, and short words for frequent steps. */
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import type { CachedResponse, Lease, Store } from "../store.js";

/** One store to test, as `makeStore` gives it. */
export interface StoreUnderTest {
  readonly store: Store;
  /**
   * Lets this much time pass for the store. The default really waits. A store that is entitled to notice the end
   * of a lease late (for clock skew, say) waits that much longer here.
   */
  readonly elapse?: (ms: number) => Promise<void>;
  /** Ends the test's use of the store. The default is the store's own `close`. */
  readonly close?: () => Promise<void>;
}

export interface Stage {
  readonly store: Store;
  readonly elapse: (ms: number) => Promise<void>;
  /** A key that no other test uses; the same for the same label. */
  readonly key: (label?: string) => string;
}

export type Rule = (stage: Stage) => Promise<void>;
export type Rules = Readonly<Record<string, Rule>>;

/** A lease or TTL that no test outlives. */
export const LONG_MS = 60_000;
/** One that ends within the test; the steps that need it alive take a fraction of it on a real server. */
export const SHORT_MS = 300;
/** Long enough for `SHORT_MS` to be over on a clock that ticks coarsely. */
export const PAST_MS = 400;

export const FINGERPRINT = "fingerprint-of-the-request";

/** A response as the protocol records it. */
export function answer(overrides: Partial<CachedResponse> = {}, ttlMs = LONG_MS): CachedResponse {
  const timestamp = Date.now();
  return {
    statusCode: 201,
    headers: [["Content-Type", "text/plain"]],
    body: Buffer.from(`answer ${randomUUID()}`),
    timestamp,
    expiresAt: timestamp + ttlMs,
    fingerprint: FINGERPRINT,
    ...overrides,
  };
}

/** Claims a key that must be free. */
export async function acquire(
  store: Store,
  key: string,
  leaseMs = LONG_MS,
  fingerprint = FINGERPRINT,
): Promise<Lease> {
  const claim = await store.lock(key, fingerprint, leaseMs);
  assert.equal(claim.state, "acquired", "the key should be free");
  return claim.lease;
}

/** Completes a key with a lease that must be good. */
export async function complete(
  store: Store,
  lease: Lease,
  response = answer(),
  ttlMs = LONG_MS,
): Promise<CachedResponse> {
  assert.deepEqual(await store.set(lease, response, ttlMs), { state: "stored" });
  return response;
}

/** Completes an empty key with the lease of an earlier holder; a store need not notice that it was empty. */
export async function completeEmpty(store: Store, lease: Lease): Promise<CachedResponse> {
  const response = answer();
  assert.equal((await store.set(lease, response, LONG_MS)).state, "stored");
  return response;
}

export async function expectFree(store: Store, key: string): Promise<void> {
  assert.equal(await store.get(key), undefined, "an empty key has no record");
  await acquire(store, key);
}

export async function expectHeld(store: Store, key: string): Promise<void> {
  const claim = await store.lock(key, FINGERPRINT, LONG_MS);
  assert.equal(claim.state, "in-progress", "the key should still be held");
  assert.equal(await store.get(key), undefined, "a held key has no record");
}

/** The record is found by both ways that lead to it. */
export async function expectCompleted(
  store: Store,
  key: string,
  response: CachedResponse,
): Promise<void> {
  expectSame(await store.get(key), response);
  const claim = await store.lock(key, FINGERPRINT, LONG_MS);
  assert.equal(claim.state, "completed", "the key should be completed");
  expectSame(claim.response, response);
}

/** Every field, exactly. A body may be of any kind of `Uint8Array`, and an absent field may be `undefined`. */
export function expectSame(actual: CachedResponse | undefined, expected: CachedResponse): void {
  assert.ok(actual, "there should be a record");
  // Compared apart, because a failure would print both.
  assert.ok(
    actual.body instanceof Uint8Array && Buffer.compare(actual.body, expected.body) === 0,
    `the body should be the ${expected.body.length} bytes that were stored`,
  );
  assert.deepEqual(withoutBody(actual), withoutBody(expected));
}

function withoutBody(response: CachedResponse): object {
  const present = Object.entries(response).filter(([, value]) => value !== undefined);
  return { ...Object.fromEntries(present), body: "compared apart" };
}

/** A lease like this one, of somebody who does not have its token. */
export function forged(lease: Lease): Lease {
  return { ...lease, token: randomUUID() };
}
