/** The body of a response that streams: bytes leave at once, only the end is held back until it is stored. */
import type { ServerResponse } from "node:http";
import { HeldBytes, type Callback } from "./response-chunks.js";
import { declaredLength } from "./response-head.js";
import type { NativeMethods } from "./response-overrides.js";

export class StreamedBody {
  readonly #res: ServerResponse;
  readonly #native: NativeMethods;
  /** What completes a declared length. */
  readonly #held = new HeldBytes();
  #size = 0;

  constructor(res: ServerResponse, native: NativeMethods) {
    this.#res = res;
    this.#native = native;
  }

  /** Sends a chunk, but for bytes that complete the declared length: the client would take that for the end. */
  pass(bytes: Buffer, callback?: Callback): boolean {
    const left = declaredLength(this.#res) - this.#size;
    this.#size += bytes.byteLength;
    if (!(bytes.byteLength >= left)) return this.#native.write.call(this.#res, bytes, callback);
    // Beyond its length it is no part of this response: the client would read it as the start of the next one.
    if (left > 0) this.#held.add(Buffer.from(bytes.subarray(0, left)));
    if (callback !== undefined) process.nextTick(callback);
    return true;
  }

  end(whenSent: Callback | undefined): void {
    const res = this.#res;
    if (res.destroyed) return;
    // The stream may have ended short of a length it declared: too late to refuse that.
    res.strictContentLength = false;
    res.end(this.#held.take(), whenSent);
  }
}
