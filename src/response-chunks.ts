/** What `write` and `end` accept, and the errors that Node gives for what they do not. */
import { coded } from "./response-head.js";

export type Callback = (error?: Error | null) => void;

export interface ChunkArguments {
  readonly chunk: unknown;
  readonly encoding: BufferEncoding | undefined;
  readonly callback: Callback | undefined;
}

/** Sorts out the overloads: (chunk), (chunk, callback), (chunk, encoding, callback), and for `end` (callback). */
export function chunkArguments(args: readonly unknown[]): ChunkArguments {
  const callback = args.find((arg) => typeof arg === "function") as Callback | undefined;
  const [chunk, encoding] = args.map((arg) => (typeof arg === "function" ? undefined : arg));
  return {
    chunk,
    encoding: typeof encoding === "string" ? (encoding as BufferEncoding) : undefined,
    callback,
  };
}

/** The bytes of a chunk; of bytes, a view. */
export function chunkBytes(chunk: unknown, encoding: BufferEncoding | undefined): Buffer {
  if (chunk === null) {
    throw coded(TypeError, "ERR_STREAM_NULL_VALUES", "May not write null values to stream");
  }
  if (typeof chunk === "string") return Buffer.from(chunk, encoding ?? "utf8");
  if (chunk instanceof Uint8Array) {
    return Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
  }
  throw coded(
    TypeError,
    "ERR_INVALID_ARG_TYPE",
    `The "chunk" argument must be of type string or an instance of Buffer or Uint8Array. Received ${typeof chunk}`,
  );
}

export function writeAfterEnd(): Error {
  return coded(Error, "ERR_STREAM_WRITE_AFTER_END", "write after end");
}

export function headersSent(action: string): Error {
  return coded(
    Error,
    "ERR_HTTP_HEADERS_SENT",
    `Cannot ${action} headers after they are sent to the client`,
  );
}
