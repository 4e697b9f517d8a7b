/**
 * Seals responses: the response that a store keeps in its place has the frame of the whole response, encrypted, as its body.
 *
 *      0  magic and version, 8 bytes
 *      8  u8  length of the key id
 *      9  key id, ASCII
 *      …  nonce, 12 bytes
 *      …  tag, 16 bytes
 *      …  record frame (record.ts) without a token, encrypted with AES-256-GCM
 *
 * Authenticated besides: everything before the nonce, the idempotency key, and what stays readable of the response.
 */
import {
  createCipheriv,
  createDecipheriv,
  createSecretKey,
  randomBytes,
  type KeyObject,
} from "node:crypto";
import { StoreUnavailableError } from "../../src/errors.js";
import type { CachedResponse } from "../../src/store.js";
import { decodeRecord, encodeRecord } from "../record.js";

/** 32 bytes, or those in base64. */
export type KeyBytes = Uint8Array | string;

const ALGORITHM = "aes-256-gcm";
const KEY_BYTES = 32;
/** NIST SP 800-38D: 96 bits, which GCM takes as they are, and a whole tag. */
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const MAGIC = Buffer.from("\xd1sealed\x01", "latin1");
const ID_AT = MAGIC.length + 1;

const KEY_ID = /^[\w.-]{1,64}$/;
/** All bits of 32 bytes, and none besides: 43 characters and their padding. */
const BASE64_OF_KEY = /^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$/;

export function isKeyId(value: unknown): value is string {
  return typeof value === "string" && KEY_ID.test(value);
}

/** The bytes of a key, or nothing where it is none. */
export function keyBytes(key: unknown): Uint8Array | undefined {
  if (key instanceof Uint8Array) return key.length === KEY_BYTES ? key : undefined;
  return typeof key === "string" && BASE64_OF_KEY.test(key)
    ? Buffer.from(key, "base64")
    : undefined;
}

export interface SealerOptions {
  readonly keys: Readonly<Record<string, KeyBytes>>;
  readonly current: string;
  readonly acceptUnencrypted: boolean;
}

export class Sealer {
  readonly #keys: ReadonlyMap<string, KeyObject>;
  readonly #current: { readonly id: string; readonly key: KeyObject };
  readonly #acceptUnencrypted: boolean;
  readonly #sealed = new WeakMap<CachedResponse, { key: string; sealed: CachedResponse }>();

  constructor({ keys, current, acceptUnencrypted }: SealerOptions) {
    this.#keys = new Map(Object.entries(keys).map(([id, key]) => [id, secretKey(key)]));
    this.#current = { id: current, key: secretKey(keys[current]) };
    this.#acceptUnencrypted = acceptUnencrypted;
  }

  /**
   * What the store shall keep instead. Offered again after a failure, a response must be the same bytes as before: a
   * quorum counts copies by their bytes, and some of its nodes may hold those of the first offer. So it is sealed once.
   */
  seal(key: string, response: CachedResponse): CachedResponse {
    if (response.tombstone !== undefined) return response;
    const known = this.#sealed.get(response);
    if (known?.key === key) return known.sealed;
    const { statusCode, timestamp, expiresAt, fingerprint } = response;
    const body = this.#encrypt(key, response);
    const sealed = { statusCode, headers: [], body, timestamp, expiresAt, fingerprint };
    this.#sealed.set(response, { key, sealed });
    return sealed;
  }

  /** @throws {StoreUnavailableError} for what was not sealed, under this key and with a known one. */
  open(key: string, response: CachedResponse): CachedResponse {
    // Also where the store itself had no room for more: it says that the request was processed, and nothing of the answer.
    if (response.tombstone !== undefined) return response;
    if (!isSealed(response)) {
      if (this.#acceptUnencrypted) return response;
      throw unreadable(
        "is not encrypted",
        "If it was stored before encryption was switched on, set acceptUnencrypted until such records have expired; " +
          "otherwise find out what else writes to the store.",
      );
    }
    return this.#decrypt(key, response);
  }

  #encrypt(key: string, response: CachedResponse): Buffer {
    const { id, key: secret } = this.#current;
    const nonce = randomBytes(NONCE_BYTES);
    const cipher = createCipheriv(ALGORITHM, secret, nonce, { authTagLength: TAG_BYTES });
    const head = Buffer.concat([MAGIC, Buffer.from([id.length]), Buffer.from(id, "latin1")]);
    cipher.setAAD(readablePart(head, key, response));
    const hidden = cipher.update(encodeRecord({ token: "", response }));
    cipher.final();
    return Buffer.concat([head, nonce, cipher.getAuthTag(), hidden]);
  }

  #decrypt(key: string, response: CachedResponse): CachedResponse {
    const { body } = response;
    const bytes = Buffer.from(body.buffer, body.byteOffset, body.byteLength);
    const nonceAt = ID_AT + (bytes[ID_AT - 1] ?? 0);
    const tagAt = nonceAt + NONCE_BYTES;
    const hiddenAt = tagAt + TAG_BYTES;
    if (bytes.length < hiddenAt) throw unauthentic("it is cut short");
    const id = bytes.toString("latin1", ID_AT, nonceAt);
    if (!isKeyId(id)) throw unauthentic("its key id is none");
    const secret = this.#keys.get(id);
    if (secret === undefined) {
      throw unreadable(
        `is encrypted with the key '${id}', which is not one of keys`,
        "Add that key, and keep it until its records have expired.",
      );
    }
    const nonce = bytes.subarray(nonceAt, tagAt);
    const decipher = createDecipheriv(ALGORITHM, secret, nonce, { authTagLength: TAG_BYTES });
    decipher.setAAD(readablePart(bytes.subarray(0, nonceAt), key, response));
    decipher.setAuthTag(bytes.subarray(tagAt, hiddenAt));
    const frame = decipher.update(bytes.subarray(hiddenAt));
    try {
      decipher.final();
    } catch (cause) {
      const what = `it was changed, belongs to another key of the store, or '${id}' was another key when it was written`;
      throw unauthentic(what, cause);
    }
    return decodeRecord(frame).response;
  }
}

function secretKey(key: KeyBytes | undefined): KeyObject {
  const bytes = keyBytes(key);
  if (bytes === undefined) throw new Error("Bug! Keys are checked before they get here.");
  return createSecretKey(bytes);
}

function isSealed({ body, headers }: CachedResponse): boolean {
  return headers.length === 0 && MAGIC.equals(body.subarray(0, MAGIC.length));
}

/** One text for each combination, whatever is in the parts: JSON quotes what could run together. */
function readablePart(head: Uint8Array, key: string, response: CachedResponse): Buffer {
  const { statusCode, timestamp, expiresAt, fingerprint } = response;
  const readable = JSON.stringify([key, fingerprint, statusCode, timestamp, expiresAt]);
  return Buffer.concat([head, Buffer.from(readable)]);
}

function unauthentic(what: string, cause?: unknown): StoreUnavailableError {
  return unreadable(
    `fails its authentication: ${what}`,
    "Find out what else writes to the store.",
    cause,
  );
}

function unreadable(what: string, advice: string, cause?: unknown): StoreUnavailableError {
  return new StoreUnavailableError(
    `A stored record ${what}. ${advice} Delete its key only if the request may run again.`,
    { cause },
  );
}
