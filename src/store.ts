/**
 * The store contract: what a store must do, as types only.
 *
 * A store is a register per key. It is empty, held under a lease, or completed with a record:
 *
 *     empty ──lock──▶ held ──set──▶ completed ──ttl──▶ empty
 *       ▲               │
 *       └─unlock, lease over
 *
 * Every verb is one atomic transition. Contention is a returned value; failure is an exception:
 * `LockFailedError` when the store answered but could not grant, `StoreUnavailableError` when it did not
 * answer in time, so that the outcome is unknown. Check an implementation with `storeContract` of
 * `idempotency-kit/testing`.
 *
 * All durations are milliseconds and end in `Ms`; moments are epoch milliseconds unless said otherwise.
 */

/** Header fields in order, with the case and the repetitions they were given. */
export type HeaderFields = readonly (readonly [name: string, value: string])[];

/** Why a response was not kept: it outgrew the limit, was streamed, or could not be serialised. */
export type TombstoneReason = "too-large" | "streamed" | "not-storable";

/** What a store keeps of one answered request. Stores keep and return every field exactly. */
export interface CachedResponse {
  readonly statusCode: number;
  /** Reason phrase, only where it differs from the standard one of the status. */
  readonly statusMessage?: string;
  readonly headers: HeaderFields;
  readonly body: Uint8Array;
  readonly trailers?: HeaderFields;
  /** When the response was recorded. */
  readonly timestamp: number;
  /** Until when it is replayed, on the recorder's clock: a copy never outlives its original. */
  readonly expiresAt: number;
  /** Fingerprint of the request that it answers. */
  readonly fingerprint: string;
  /** Set where the request was processed but its response was not kept; body and headers are then empty. */
  readonly tombstone?: TombstoneReason;
}

/** A response as a front door recorded it; the protocol adds when, for which request and for how long. */
export type RecordedResponse = Omit<CachedResponse, "timestamp" | "expiresAt" | "fingerprint">;

/**
 * The right to execute one key, as data. Whoever holds the token may extend, set and unlock;
 * a lease whose time is over gives no right that a successor could notice.
 */
export interface Lease {
  readonly key: string;
  /** Fresh for every acquisition, never reused, unguessable. */
  readonly token: string;
  readonly fingerprint: string;
  /** Until when the store guarantees it, on this process's monotonic clock (`performance.now()`). */
  readonly validUntil: number;
}

export type LockResult =
  /** Nobody else holds the key. `takeover`: the store saw that an earlier holder's lease had run out. */
  | { readonly state: "acquired"; readonly lease: Lease; readonly takeover?: boolean }
  /**
   * Somebody else holds it. `fingerprint` is theirs where the store can tell; `retryAfterMs` is the rest of
   * their lease, or the store's best guess at when asking again makes sense.
   */
  | { readonly state: "in-progress"; readonly fingerprint?: string; readonly retryAfterMs: number }
  | { readonly state: "completed"; readonly response: CachedResponse };

export type SetResult =
  /**
   * `lapsed`: the key was empty, so that somebody may have executed and gone since the lease. A store that can tell does,
   * because a clock that was set, or lost data, ends a lease before its holder can know.
   */
  | { readonly state: "stored"; readonly lapsed?: boolean }
  /** The lease was lost and somebody else holds or completed the key; `winner` is their record if there is one. */
  | { readonly state: "lost"; readonly winner?: CachedResponse };

/**
 * One store. Keys and fingerprints are opaque strings of at most 255 visible ASCII characters: the protocol
 * hashes what clients send before it gets here.
 */
export interface Store {
  /** The record of a completed key, `undefined` for an empty or held one. Never an expired record. */
  get(key: string): Promise<CachedResponse | undefined>;

  /**
   * Claims an empty key for `leaseMs`, or learns who stands there: in one round trip, atomically. A key whose
   * lease or record has expired is empty, whether or not anything has reaped it. A claim whose reply was lost
   * and that the driver sent again must recognise its own token and succeed.
   */
  lock(key: string, fingerprint: string, leaseMs: number): Promise<LockResult>;

  /** Holds the key for `leaseMs` from now. `false`: the lease is lost, for good; nothing was changed. */
  extend(lease: Lease, leaseMs: number): Promise<boolean>;

  /**
   * Completes the key with a record kept for `ttlMs` from now. Succeeds where the key is held under this lease's
   * token, and where it is empty (the lease ran out and nobody came). Never changes a stored record: repeating
   * a `set` after a lost reply says `stored`, and a successor's lease or record makes it `lost`.
   */
  set(lease: Lease, response: CachedResponse, ttlMs: number): Promise<SetResult>;

  /**
   * `set`, together with writes of the handler's own in the same database: all of them or none (a store that has no
   * transactions leaves this out). Needs the key to be held under this lease's token, or completed by it: where it is
   * empty the answer is `lost`. Repeating it after a lost reply says `stored`, and nothing is written twice.
   *
   * @param writes In the store's own form.
   * @throws {CommitRefusedError} where `writes` are invalid, or their conditions were not met: nothing is written, and the
   * lease still holds.
   */
  commit?(
    lease: Lease,
    response: CachedResponse,
    ttlMs: number,
    writes: readonly unknown[],
  ): Promise<SetResult>;

  /** Empties the key if it is held under this lease's token; otherwise changes nothing and says nothing. */
  unlock(lease: Lease): Promise<void>;

  /** For operators: empties the key whatever stands there. `false`: it was empty. */
  delete(key: string): Promise<boolean>;

  /** Gives back what the store itself opened. Clients that were passed in stay open. */
  close?(): Promise<void>;
}
