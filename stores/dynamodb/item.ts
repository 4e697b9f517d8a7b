/**
 * The item of a key: the holder's lease, or the record, or where the record's chunks are. It stays small, because every
 * duplicate's conditional write is billed by its size.
 *
 *     state        "held" or "completed"
 *     token        of the lease under which it was written
 *     endsAt       when the lease or the record ends, epoch milliseconds of DynamoDB's time
 *     (ttl)        when DynamoDB may delete it, epoch seconds; days late, so `endsAt` decides
 *     fingerprint  held: of the request
 *     previous     held: the state that the claim found
 *     record       completed: the packed frame (record.ts), where it is small; else:
 *     chunks, sha256  how many chunks hold the packed frame, and its hash
 *     size, encoding  completed: the frame's length, and how it is packed
 */
import type { AttributeValue } from "@aws-sdk/client-dynamodb";
import { StoreUnavailableError } from "../../src/errors.js";
import type { Encoding, Packed } from "./pack.js";

export type Item = Record<string, AttributeValue>;

/** The attributes beside key and TTL, whose names are options and must be others; `part` is a chunk's. */
export const ATTRIBUTES = [
  "state",
  "token",
  "endsAt",
  "fingerprint",
  "previous",
  "record",
  "chunks",
  "sha256",
  "size",
  "encoding",
  "part",
] as const;

export interface Held {
  readonly kind: "held";
  readonly token: string;
  readonly endsAt: number;
  readonly fingerprint: string;
  /** Whether the claim found a lease that had run out. */
  readonly takeover: boolean;
}

export interface Completed {
  readonly kind: "completed";
  readonly token: string;
  readonly endsAt: number;
  readonly size: number;
  readonly encoding: Encoding | undefined;
  readonly place: Place;
}

/** Where a packed frame is: in the item of its key, or in chunks. */
export type Place = Inline | Chunked;

export interface Inline {
  readonly bytes: Uint8Array;
}

export interface Chunked {
  readonly count: number;
  readonly sha256: Uint8Array;
}

export type Found = Held | Completed;

/** The attributes of a completed item, beside those that every item has. */
export function recordAttributes({ size, encoding }: Omit<Packed, "bytes">, place: Place): Item {
  return {
    state: { S: "completed" },
    size: { N: `${size}` },
    ...(encoding === undefined ? {} : { encoding: { S: encoding } }),
    ...("bytes" in place
      ? { record: { B: place.bytes } }
      : { chunks: { N: `${place.count}` }, sha256: { B: place.sha256 } }),
  };
}

/** @throws {StoreUnavailableError} for what the kit did not write. */
export function readItem(item: Item): Found {
  const token = item["token"]?.S;
  const endsAt = Number(item["endsAt"]?.N);
  if (token === undefined || !Number.isFinite(endsAt)) throw foreign();
  const state = item["state"]?.S;
  if (state === "held") {
    const takeover = item["previous"]?.S === "held";
    return { kind: "held", token, endsAt, fingerprint: item["fingerprint"]?.S ?? "", takeover };
  }
  if (state !== "completed") throw foreign();
  const encoding = item["encoding"]?.S;
  const size = Number(item["size"]?.N);
  if (!(size > 0) || (encoding !== undefined && encoding !== "br")) throw foreign();
  return { kind: "completed", token, endsAt, size, encoding, place: placeOf(item) };
}

function placeOf({ record, chunks, sha256 }: Item): Place {
  if (record?.B !== undefined) return { bytes: record.B };
  const count = Number(chunks?.N);
  if (!(count > 0) || sha256?.B === undefined) throw foreign();
  return { count, sha256: sha256.B };
}

function foreign(): StoreUnavailableError {
  return new StoreUnavailableError(
    "An item that stands under a key was not written by this version of idempotency-kit. " +
      "Give the store a table or a prefix that no other program writes to.",
  );
}
