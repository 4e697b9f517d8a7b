/** What `write` and `end` take. */
import { isUint8Array } from "node:util/types";

export type Callback = (error?: Error | null) => void;

export interface ChunkArguments {
  readonly chunk: unknown;
  readonly encoding: BufferEncoding | undefined;
  readonly callback: Callback | undefined;
}

/** Sorts out the overloads: (chunk), (chunk, callback), (chunk, encoding, callback), and for `end` (callback). */
export function chunkArguments(args: readonly unknown[]): ChunkArguments {
  const callback = args.find(isFunction) as Callback | undefined;
  const [chunk, encoding] = args;
  return {
    chunk: isFunction(chunk) ? undefined : chunk,
    encoding: typeof encoding === "string" ? (encoding as BufferEncoding) : undefined,
    callback,
  };
}

function isFunction(value: unknown): boolean {
  return typeof value === "function";
}

/** What Node takes as a chunk: by kind, not by class, because bytes may come from another realm. */
export function isChunk(chunk: unknown): chunk is string | Uint8Array {
  return typeof chunk === "string" || isUint8Array(chunk);
}

/** The bytes of a chunk; of bytes, a view. */
export function chunkBytes(
  chunk: string | Uint8Array,
  encoding: BufferEncoding | undefined,
): Buffer {
  if (typeof chunk === "string") return Buffer.from(chunk, encoding);
  return Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
}

/** Bytes that stay as they are: a writer may reuse its buffer once it is told that it was written. */
export function ownBytes(chunk: string | Uint8Array, bytes: Buffer): Buffer {
  return typeof chunk === "string" ? bytes : Buffer.from(bytes);
}

/** Bytes in their order, in pieces until they are wanted whole. */
export class HeldBytes {
  #pieces: Buffer[] = [];

  add(piece: Buffer): void {
    if (piece.byteLength > 0) this.#pieces.push(piece);
  }

  get whole(): Buffer {
    const [only = Buffer.alloc(0), ...others] = this.#pieces;
    if (others.length === 0) return only;
    const whole = Buffer.concat(this.#pieces);
    this.#pieces = [whole];
    return whole;
  }

  /** Gives them away. */
  take(): Buffer {
    const { whole } = this;
    this.#pieces = [];
    return whole;
  }
}
