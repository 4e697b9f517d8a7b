/** Frames made smaller where that saves write units: of them DynamoDB bills one for each KiB. */
import { promisify } from "node:util";
import {
  brotliCompress,
  brotliCompressSync,
  brotliDecompress,
  brotliDecompressSync,
  constants,
} from "node:zlib";
import { StoreUnavailableError } from "../../src/errors.js";

export type Encoding = "br";

export interface Packed {
  readonly bytes: Uint8Array;
  /** Absent where the bytes are the frame itself. */
  readonly encoding: Encoding | undefined;
  /** Of the frame, in bytes. */
  readonly size: number;
}

/** With the rest of its item a smaller frame fits into one write unit as it is. */
const SMALLEST_PACKED = 512;

/** Of brotli's levels the last before its cost grows steeply: JSON shrinks to a seventh or less, at some 100 MB a second. */
const QUALITY = 4;

/**
 * Larger frames go to a thread of libuv's. Handing one over takes the process longer than these take it to pack: 130 µs
 * for 10 kB, and 46 µs without.
 */
const MOST_AT_ONCE = 16 * 1_024;

const compressAside = promisify(brotliCompress);
const decompressAside = promisify(brotliDecompress);

/** Never larger than the frame. */
export async function pack(frame: Buffer, isEncoded: boolean): Promise<Packed> {
  const plain = { bytes: frame, encoding: undefined, size: frame.length };
  if (isEncoded || frame.length <= SMALLEST_PACKED) return plain;
  const params = {
    [constants.BROTLI_PARAM_QUALITY]: QUALITY,
    [constants.BROTLI_PARAM_SIZE_HINT]: frame.length,
  };
  const compress = frame.length <= MOST_AT_ONCE ? brotliCompressSync : compressAside;
  const bytes = await compress(frame, { params });
  return bytes.length < frame.length ? { bytes, encoding: "br", size: frame.length } : plain;
}

/** @throws {StoreUnavailableError} for what is not a packed frame of that size. */
export async function unpack({ bytes, encoding, size }: Packed): Promise<Uint8Array> {
  if (encoding === undefined) return bytes;
  try {
    const decompress = size <= MOST_AT_ONCE ? brotliDecompressSync : decompressAside;
    return await decompress(bytes, { maxOutputLength: size });
  } catch (error) {
    throw new StoreUnavailableError(
      "A stored record is damaged: it cannot be unpacked. Find out what else writes to the table. " +
        "Delete its key only if the request may run again.",
      { cause: error },
    );
  }
}
