/** A front for any store: what was answered is encrypted before the store sees it. */
import { OptionsError } from "../src/errors.js";
import { custom, parseOptions, type Given } from "../src/options.js";
import type { CachedResponse, LockResult, SetResult, Store } from "../src/store.js";
import { isKeyId, keyBytes, Sealer, type KeyBytes } from "./encrypted/sealer.js";

interface EncryptionSettings {
  /**
   * Keys by id. A key is 32 random bytes: as a `Uint8Array`, or in base64 (`openssl rand -base64 32`). An id is 1 to 64
   * letters, digits, dots, hyphens or underscores; it is written beside each record, so it is no secret.
   */
  readonly keys: Readonly<Record<string, KeyBytes>>;
  /** Id of the key that new records are encrypted with; the others only decrypt. */
  readonly current: string;
  /**
   * Takes records that are not encrypted as they are, instead of refusing them (503). For the first `ttlMs` after
   * encryption was switched on, and no longer: until then, whoever can write to the store can forge answers. Default: `false`.
   */
  readonly acceptUnencrypted: boolean;
}

export type EncryptionOptions = Given<EncryptionSettings> &
  Pick<EncryptionSettings, "keys" | "current">;

/**
 * Keeps records in `store` encrypted with AES-256-GCM: reason phrase, headers, body and trailers. The status code, the
 * times and the fingerprint stay readable, because stores and operators need them, but nobody can change them; and a record
 * cannot be moved to another key of the store. A tombstone has nothing to hide and is kept as it is.
 *
 * To rotate, add the new key to `keys` in every process, then make it `current` everywhere, and remove the old key when
 * the longest `ttlMs` has passed. Nonces are random, so rotate before a key has encrypted 2^32 responses (NIST SP 800-38D,
 * section 8.3): at 100 new keys a second, that is after 16 months.
 *
 * A record that was changed, moved, or encrypted with an unknown key is a `StoreUnavailableError`: 503, and nothing runs.
 *
 * @param store Any store; it stays in charge of leases, expiry and atomicity. `commit` is there where it has one.
 * @throws {OptionsError} for keys that are none, and where `current` is not one of them.
 * @example
 * ```ts
 * import { idempotency } from "idempotency-kit";
 * import { encryptedStore } from "idempotency-kit/encrypted";
 * import { memoryStore } from "idempotency-kit/memory";
 *
 * const keys = { "2026-11": process.env.IDEMPOTENCY_KEY_2026_11 ?? "" };
 * const protect = idempotency(encryptedStore(memoryStore(), { keys, current: "2026-11" }));
 * ```
 */
export function encryptedStore(store: Store, options: EncryptionOptions): Store {
  if (typeof (store as Store | undefined)?.lock !== "function") {
    throw new OptionsError("encryptedStore", ["store must be a store to put the records in"]);
  }
  const sealer = new Sealer(parse(options));

  const opened = (key: string, response: CachedResponse): CachedResponse =>
    sealer.open(key, response);
  const openedClaim = (key: string, claim: LockResult): LockResult =>
    claim.state === "completed"
      ? { state: "completed", response: opened(key, claim.response) }
      : claim;
  const openedResult = (key: string, result: SetResult): SetResult =>
    result.state === "lost" && result.winner !== undefined
      ? { state: "lost", winner: opened(key, result.winner) }
      : result;

  return {
    async get(key) {
      const found = await store.get(key);
      return found && opened(key, found);
    },
    lock: async (key, fingerprint, leaseMs) =>
      openedClaim(key, await store.lock(key, fingerprint, leaseMs)),
    extend: (lease, leaseMs) => store.extend(lease, leaseMs),
    set: async (lease, response, ttlMs) =>
      openedResult(lease.key, await store.set(lease, sealer.seal(lease.key, response), ttlMs)),
    ...(hasCommit(store) && {
      commit: async (lease, response, ttlMs, writes) => {
        const sealed = sealer.seal(lease.key, response);
        return openedResult(lease.key, await store.commit(lease, sealed, ttlMs, writes));
      },
    }),
    unlock: (lease) => store.unlock(lease),
    delete: (key) => store.delete(key),
    close: async () => store.close?.(),
  };
}

function hasCommit(store: Store): store is Store & Required<Pick<Store, "commit">> {
  return typeof store.commit === "function";
}

function parse(options: EncryptionOptions): EncryptionSettings {
  return parseOptions<EncryptionSettings>(
    "encryptedStore",
    options,
    {
      keys: custom({}, "", unseen),
      current: custom("", "", unseen),
      acceptUnencrypted: custom(false, "", unseen),
    },
    mistakesIn,
  );
}

/** Checked by `mistakesIn`, which names no value: a key, put where it does not belong, must not get into a log. */
function unseen(): boolean {
  return true;
}

function* mistakesIn(settings: EncryptionSettings): Iterable<string> {
  const { keys, current, acceptUnencrypted } = settings;
  const entries = typeof keys === "object" ? Object.entries(keys) : [];
  if (entries.length === 0) yield "keys must be an object of ids and keys, one of them at least";
  if (!entries.every(([id]) => isKeyId(id))) {
    yield "ids of keys must be 1 to 64 letters, digits, '.', '-' or '_'";
  }
  if (!entries.every(([, key]) => keyBytes(key) !== undefined)) {
    yield "each key must have 32 bytes: a Uint8Array, or base64 (openssl rand -base64 32)";
  }
  if (!entries.some(([id]) => id === current)) yield "current must be the id of one of the keys";
  if (typeof acceptUnencrypted !== "boolean") yield "acceptUnencrypted must be true or false";
}
