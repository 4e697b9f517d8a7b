/** Records as they are kept in memory: encoded, so that nobody outside can change what is kept. */
import type { CachedResponse } from "../../src/store.js";
import { decodeRecord, encodeRecord } from "../record.js";
import type { Entry, RecordEntry } from "./entries.js";

/** What an entry takes besides its key and frame: measured with small records on Node 20, rounded up. */
export const ENTRY_BYTES = 512;

/** Beyond it, copying text costs more than a buffer does. */
const LARGEST_TEXT = 16 * 1024;

/** For one large response, many others would have to go. */
export const LARGEST_SHARE = 1 / 8;

/**
 * A large frame gets memory of its own: a piece of Node's buffer pool would keep all of its 8 KiB alive.
 *
 * @param until On the `performance.now()` clock.
 * @throws {RangeError} for a response that no frame can hold.
 */
export function recordEntry(
  { key, token }: { readonly key: string; readonly token: string },
  response: CachedResponse,
  until: number,
): RecordEntry {
  const encoded = encodeRecord({ token, response }, (size) =>
    size > LARGEST_TEXT ? Buffer.allocUnsafeSlow(size) : Buffer.allocUnsafe(size),
  );
  const frame = encoded.length > LARGEST_TEXT ? encoded : encoded.toString("latin1");
  const bytes = ENTRY_BYTES + key.length + frame.length;
  return { kind: "record", key, token, frame, bytes, until, place: 0 };
}

/** From a copy, because the body that callers get is a view of what is decoded. */
export function responseOf({ frame }: RecordEntry): CachedResponse {
  return decodeRecord(bytesOf(frame)).response;
}

/** A copy. */
function bytesOf(frame: Buffer | string): Buffer {
  return typeof frame === "string" ? Buffer.from(frame, "latin1") : Buffer.from(frame);
}

export function isLive(entry: Entry, now = performance.now()): boolean {
  return entry.until > now;
}
