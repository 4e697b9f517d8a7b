/**
 * The binary frame in which stores keep a record: the response, and the token of the lease that wrote it.
 *
 *     0  u8   magic                26  u32  CRC-32 of all the other bytes
 *     1  u8   version              30  token, latin1
 *     2  u8   flags                 …  table: lengths and counts, LEB128
 *     3  u8   token length          …  text: the strings of the table, one after the other
 *     4  u16  status                …  body, raw
 *     6  f64  timestamp
 *    14  f64  expiresAt
 *    22  u32  body length          (numbers are big-endian)
 *
 * The table holds the length of the fingerprint, that of the status message if there is one, the number of headers, the
 * lengths of each name and value, and the same for trailers if there are any. Text is latin1, which is what Node
 * gives and takes in headers, or UTF-16 where a character needs it: between them they keep every JavaScript string,
 * lone surrogates too, which UTF-8 would not. One record always makes the same bytes, so copies can be compared.
 */
import { crc32 } from "node:zlib";
import { StoreUnavailableError } from "../src/errors.js";
import type { CachedResponse, HeaderFields, TombstoneReason } from "../src/store.js";

export interface StoredRecord {
  /** Of the lease under which the record was written: a repeated `set` is recognised by it. */
  readonly token: string;
  readonly response: CachedResponse;
}

/** Where the token begins; its length is the byte at 3. Fixed, so that a script in a server can compare it. */
export const TOKEN_OFFSET = 30;
const CHECKSUM_AT = 26;

// Not a printable character, so that text of another program is refused at its first byte.
const MAGIC = 0xd1;
const VERSION = 1;

// The two low flag bits are an index into this list, the others say what the frame has.
const REASONS: readonly TombstoneReason[] = ["too-large", "streamed", "not-storable"];
const TOMBSTONES = [undefined, ...REASONS];
const TOMBSTONE_BITS = 0b00011;
const STATUS_MESSAGE = 0b00100;
const TRAILERS = 0b01000;
const WIDE_TEXT = 0b10000;
const KNOWN_FLAGS = 0b11111;

const BEYOND_LATIN1 = /[^\0-\xff]/;

type Writable<T> = { -readonly [K in keyof T]: T[K] };

/**
 * @param allocate The default shares Node's buffer pool, which is fastest for a frame that is sent and forgotten.
 * @throws {RangeError} for a record that `decodeRecord` would refuse.
 */
export function encodeRecord(
  { token, response }: StoredRecord,
  allocate: (size: number) => Buffer = (size) => Buffer.allocUnsafe(size),
): Buffer {
  const { body, fingerprint, statusMessage, trailers } = response;
  const wrong = unstorable(token, response);
  if (wrong !== undefined) throw new RangeError(`This record cannot be stored: ${wrong}.`);

  let flags = TOMBSTONES.indexOf(response.tombstone);
  let text = fingerprint;
  const table = [fingerprint.length];
  if (statusMessage !== undefined) {
    flags |= STATUS_MESSAGE;
    text += statusMessage;
    table.push(statusMessage.length);
  }
  text += listFields(response.headers, table);
  if (trailers !== undefined) {
    flags |= TRAILERS;
    text += listFields(trailers, table);
  }
  const wide = BEYOND_LATIN1.test(text);
  if (wide) flags |= WIDE_TEXT;

  const tableAt = TOKEN_OFFSET + token.length;
  const textAt = tableAt + table.reduce((size, entry) => size + entrySize(entry), 0);
  const bodyAt = textAt + (wide ? text.length * 2 : text.length);
  const frame = allocate(bodyAt + body.length);
  frame[0] = MAGIC;
  frame[1] = VERSION;
  frame[2] = flags;
  frame[3] = token.length;
  frame.writeUInt16BE(response.statusCode, 4);
  frame.writeDoubleBE(response.timestamp, 6);
  frame.writeDoubleBE(response.expiresAt, 14);
  frame.writeUInt32BE(body.length, 22);
  frame.write(token, TOKEN_OFFSET, "latin1");
  writeTable(frame, tableAt, table);
  frame.write(text, textAt, wide ? "utf16le" : "latin1");
  frame.set(body, bodyAt);
  frame.writeUInt32BE(checksumOf(frame), CHECKSUM_AT);
  return frame;
}

/**
 * Reads a frame, which may be a view of something larger; the body is a view of it in turn, not a copy.
 *
 * @throws {StoreUnavailableError} for anything but one whole frame of this version.
 */
export function decodeRecord(bytes: Uint8Array): StoredRecord {
  const frame = Buffer.isBuffer(bytes)
    ? bytes
    : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const flags = checkedFlags(frame);
  const tableAt = TOKEN_OFFSET + (frame[3] as number);
  const { table, end: textAt, characters } = readTable(frame, tableAt, flags);
  const wide = (flags & WIDE_TEXT) !== 0;
  const bodyAt = textAt + (wide ? characters * 2 : characters);
  // This one equation finds truncation, trailing bytes and wrong lengths, before anything is taken by its length.
  const length = bodyAt + frame.readUInt32BE(22);
  if (length !== frame.length) {
    throw damaged(`it has ${frame.length} bytes where its lengths add up to ${length}`);
  }
  const text = frame.toString(wide ? "utf16le" : "latin1", textAt, bodyAt);
  const take = reader(table, text);
  const fingerprint = take.string();
  const statusMessage = flags & STATUS_MESSAGE ? take.string() : undefined;
  const response: Writable<CachedResponse> = {
    statusCode: frame.readUInt16BE(4),
    headers: take.fields(),
    body: frame.subarray(bodyAt),
    timestamp: frame.readDoubleBE(6),
    expiresAt: frame.readDoubleBE(14),
    fingerprint,
  };
  if (statusMessage !== undefined) response.statusMessage = statusMessage;
  if (flags & TRAILERS) response.trailers = take.fields();
  const tombstone = TOMBSTONES[flags & TOMBSTONE_BITS];
  if (tombstone !== undefined) response.tombstone = tombstone;
  const token = frame.toString("latin1", TOKEN_OFFSET, tableAt);
  const wrong = unstorable(token, response);
  if (wrong !== undefined) throw damaged(wrong);
  // Last, so that what can be said more exactly is: here nothing else would tell a wrong answer from the right one.
  if (frame.readUInt32BE(CHECKSUM_AT) !== checksumOf(frame)) throw damaged("its checksum is wrong");
  return { token, response };
}

export interface RecordHead extends Pick<
  CachedResponse,
  "statusCode" | "timestamp" | "expiresAt" | "tombstone"
> {}

/**
 * Reads what stands in front of a frame's token, from as many bytes or more.
 *
 * @throws {StoreUnavailableError} for anything but the beginning of a frame of this version.
 */
export function decodeHead(frame: Buffer): RecordHead {
  const tombstone = TOMBSTONES[checkedFlags(frame) & TOMBSTONE_BITS];
  return {
    statusCode: frame.readUInt16BE(4),
    timestamp: frame.readDoubleBE(6),
    expiresAt: frame.readDoubleBE(14),
    ...(tombstone === undefined ? {} : { tombstone }),
  };
}

/** Against accidents, not against forgery: for that there is `encryptedStore`. */
function checksumOf(frame: Buffer): number {
  return crc32(frame.subarray(TOKEN_OFFSET), crc32(frame.subarray(0, CHECKSUM_AT)));
}

/** What a frame cannot hold, checked on the way in and again on the way out. */
function unstorable(token: string, response: CachedResponse): string | undefined {
  const { statusCode, timestamp, expiresAt, tombstone } = response;
  if (token.length > 255 || BEYOND_LATIN1.test(token)) {
    return "its token is not at most 255 latin1 characters";
  }
  if (!Number.isInteger(statusCode) || statusCode < 100 || statusCode > 999) {
    return `its status code is ${statusCode}, not an integer from 100 to 999`;
  }
  if (!Number.isFinite(timestamp) || !Number.isFinite(expiresAt)) {
    return `its timestamp ${timestamp} or its expiresAt ${expiresAt} is not a finite number`;
  }
  if (!TOMBSTONES.includes(tombstone)) return `its tombstone '${tombstone}' is not a known one`;
  return undefined;
}

function listFields(fields: HeaderFields, table: number[]): string {
  let text = "";
  table.push(fields.length);
  for (const [name, value] of fields) {
    table.push(name.length, value.length);
    text += name + value;
  }
  return text;
}

/** Bytes of one table entry: seven bits in each. No JavaScript string is longer than 2^30 characters. */
function entrySize(entry: number): number {
  if (entry < 0x80) return 1;
  if (entry < 0x4000) return 2;
  if (entry < 0x20_0000) return 3;
  return entry < 0x1000_0000 ? 4 : 5;
}

function writeTable(frame: Buffer, from: number, table: readonly number[]): void {
  let at = from;
  for (const entry of table) {
    let rest = entry;
    while (rest >= 0x80) {
      frame[at++] = (rest & 0x7f) | 0x80;
      rest >>>= 7;
    }
    frame[at++] = rest;
  }
}

/** Refuses what is not a frame of this version; every fixed field of what passes can be read. */
function checkedFlags(frame: Buffer): number {
  const [magic, version, flags] = frame;
  if (magic !== undefined && magic !== MAGIC) {
    throw unreadable(
      "it was not written by idempotency-kit",
      "Give the store a prefix or table that no other program writes to.",
    );
  }
  if (version !== undefined && version !== VERSION) {
    throw unreadable(
      `it was written by another version of idempotency-kit (format ${version}, this one reads ${VERSION})`,
      "Let all processes that share a store run the same version.",
    );
  }
  if (flags === undefined || frame.length < TOKEN_OFFSET) throw damaged("it is cut short");
  if ((flags & ~KNOWN_FLAGS) !== 0) throw damaged(`its flags ${flags} are unknown`);
  return flags;
}

/** `characters` is how long the text is by what the table says. */
function readTable(frame: Buffer, from: number, flags: number) {
  const table: number[] = [];
  let at = from;
  let characters = 0;
  const next = (): number => {
    let entry = 0;
    for (let scale = 1; scale <= 2 ** 28; scale *= 128) {
      const byte = frame[at++];
      if (byte === undefined) throw damaged("it is cut short");
      entry += (byte & 0x7f) * scale;
      if (byte < 0x80) {
        table.push(entry);
        return entry;
      }
    }
    throw damaged("one of its lengths is out of range");
  };
  characters += next();
  if (flags & STATUS_MESSAGE) characters += next();
  for (let lists = flags & TRAILERS ? 2 : 1; lists > 0; lists -= 1) {
    // A wrong count cannot make this long: each turn reads two bytes or finds the end.
    for (let fields = next(); fields > 0; fields -= 1) characters += next() + next();
  }
  return { table, end: at, characters };
}

/** Hands out the strings of a text in the order of its table. */
function reader(table: readonly number[], text: string) {
  let entry = 0;
  let at = 0;
  const count = (): number => table[entry++] as number;
  const string = (): string => text.slice(at, (at += count()));
  // Not `Array.from` with a mapper: that alone doubles the time of decoding a record.
  const fields = (): HeaderFields => {
    const list: [string, string][] = [];
    for (let left = count(); left > 0; left -= 1) list.push([string(), string()]);
    return list;
  };
  return { string, fields };
}

function damaged(what: string): StoreUnavailableError {
  return unreadable(`it is damaged: ${what}`, "Find out what else writes to the store.");
}

function unreadable(what: string, advice: string): StoreUnavailableError {
  return new StoreUnavailableError(
    `A stored record cannot be read, ${what}. ${advice} ` +
      "Delete its key only if the request may run again.",
  );
}
