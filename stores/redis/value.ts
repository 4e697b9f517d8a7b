/**
 * The one value that a key has in Redis: the holder's lock, or the record. One key per idempotency key, so that every
 * transition is atomic on one server and Redis Cluster has no second slot to find.
 *
 *     L length(2) token lease(6) fingerprint    held; lengths and the lease in ms are base 36
 *     R frame                                   completed, see record.ts
 */
import { StoreUnavailableError } from "../../src/errors.js";
import type { CachedResponse } from "../../src/store.js";
import {
  decodeHead,
  decodeRecord,
  encodeRecord,
  TOKEN_OFFSET,
  type RecordHead,
  type StoredRecord,
} from "../record.js";

const LOCK = 0x4c; // 'L'
const RECORD = 0x52; // 'R'

const LENGTH_DIGITS = 2;
/** Six digits of base 36 hold every delay that a timer can. */
const LEASE_DIGITS = 6;

/** Where a record's token begins in the value, as Lua's `string.sub` counts: from 1. Its length is one byte at `from - 27`. */
export const TOKEN_FROM = 1 + TOKEN_OFFSET + 1;

export interface LockValue {
  readonly kind: "lock";
  readonly token: string;
  readonly leaseMs: number;
  readonly fingerprint: string;
}

export interface RecordValue {
  readonly kind: "record";
  readonly token: string;
  readonly response: CachedResponse;
  /** The value itself: copies are the same record where these bytes are the same. */
  readonly bytes: Buffer;
}

export type Value = LockValue | RecordValue;

/** How the value of every lock under this token begins: scripts compare no more than that. */
export function lockMark(token: string): string {
  return `L${base36(token.length, LENGTH_DIGITS)}${token}`;
}

export function lockValue(token: string, leaseMs: number, fingerprint: string): string {
  return lockMark(token) + base36(leaseMs, LEASE_DIGITS) + fingerprint;
}

export function recordValue(record: StoredRecord): Buffer {
  let value = Buffer.alloc(0);
  // The frame is written behind its mark at once, instead of being copied there.
  encodeRecord(record, (size) => {
    value = Buffer.allocUnsafe(size + 1);
    value[0] = RECORD;
    return value.subarray(1);
  });
  return value;
}

/** @throws {StoreUnavailableError} for what the kit did not write. */
export function readValue(bytes: Buffer): Value {
  if (bytes[0] !== LOCK) {
    // What has no mark of a record fails in the frame's own check, with its advice.
    const frame = bytes[0] === RECORD ? bytes.subarray(1) : bytes;
    return { kind: "record", ...decodeRecord(frame), bytes };
  }
  const text = bytes.toString("latin1");
  const tokenFrom = 1 + LENGTH_DIGITS;
  const leaseFrom = tokenFrom + number36(text.slice(1, tokenFrom));
  const fingerprintFrom = leaseFrom + LEASE_DIGITS;
  const leaseMs = number36(text.slice(leaseFrom, fingerprintFrom));
  // Text of another program may begin with an L, too.
  if (!(leaseMs > 0) || text.length <= fingerprintFrom) throw foreignLock();
  return {
    kind: "lock",
    token: text.slice(tokenFrom, leaseFrom),
    leaseMs,
    fingerprint: text.slice(fingerprintFrom),
  };
}

/** How much of a value tells what stands there, and under which token: of a record, nothing of the response. */
export const HEAD_BYTES = TOKEN_FROM + 36;

/** `undefined` for what the kit did not write. */
export function readHead(head: Buffer): "lock" | RecordHead | undefined {
  if (head[0] === LOCK) return "lock";
  try {
    return decodeHead(head.subarray(1));
  } catch {
    return undefined;
  }
}

function foreignLock(): StoreUnavailableError {
  return new StoreUnavailableError(
    "What stands under a key was not written by idempotency-kit. " +
      "Give the store a prefix that no other program writes to.",
  );
}

/** Not a number where anything else than lower-case base 36 stands, which `parseInt` would read as far as it can. */
function number36(text: string): number {
  return /^[0-9a-z]+$/.test(text) ? Number.parseInt(text, 36) : Number.NaN;
}

function base36(number: number, digits: number): string {
  return number.toString(36).padStart(digits, "0");
}
