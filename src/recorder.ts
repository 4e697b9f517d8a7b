/**
 * Records what a handler writes to a `http.ServerResponse`, and sends it only when told to.
 *
 * The response keeps its identity (frameworks hold on to it), so a few methods are overridden on the instance, and so
 * are the properties by which Node knows how far it is: to the handler it looks as if everything had been sent. All
 * else is Node's own: header fields go to the real response, and what is late or invalid gets Node's own errors.
 * Three phases:
 *
 * - `recording`: everything is held back, up to `maxBytes`. A client that hangs up is not noticed;
 * - `streaming`: the response outgrew that, was flushed, or is an event stream: bytes leave at once, only the end
 *   is held back, and what is recorded is a tombstone. A client that hangs up ends the recording;
 * - `done`: sent, discarded or destroyed; the overrides are off, and what is left of them passes through.
 */
import { STATUS_CODES, type ServerResponse } from "node:http";
import { sendWhole, setStatus } from "./http-answer.js";
import { chunkArguments, chunkBytes, isChunk, keptBytes } from "./response-chunks.js";
import type { Callback } from "./response-chunks.js";
import { changedFields, composeHead, isBodiless, prototypeOf } from "./response-head.js";
import { readHead, resetHead, trailerFields } from "./response-head.js";
import type { ComposedHead, Head, Trailers } from "./response-head.js";
import { Overrides, type NativeMethods } from "./response-overrides.js";
import type { HeaderFields, RecordedResponse, TombstoneReason } from "./store.js";

const OVERRIDDEN = [
  "writeHead",
  "flushHeaders",
  "addTrailers",
  "write",
  "end",
  "destroy",
  "emit",
] as const;

const NO_BODY = Buffer.alloc(0);

export class ResponseRecorder {
  /** What the handler answered, once it has ended it. Rejects where the handler destroyed the response instead. */
  readonly recorded: Promise<RecordedResponse>;

  readonly #res: ServerResponse;
  readonly #maxBytes: number;
  readonly #native: NativeMethods;
  readonly #overrides: Overrides;
  readonly #before: Head;
  #resolve!: (recorded: RecordedResponse) => void;
  #reject!: (error: Error) => void;
  #phase: "recording" | "streaming" | "done" = "recording";
  /** The head as the handler sent it: a later change of `statusCode` has no effect, as always. */
  #head: ComposedHead | undefined;
  /** Whether the handler called `writeHead` itself. */
  #explicitHead = true;
  /** What is held back: while recording all of the body, while streaming what completes a declared length. */
  #chunks: Buffer[] = [];
  #size = 0;
  #trailers: HeaderFields = [];
  #tombstone: TombstoneReason | undefined;
  /** The handler ends the response: a head composed from now on knows the body's length. */
  #ending = false;
  #ended = false;
  #whenSent: Callback | undefined;
  /** The client has hung up while recording, and the handler is not told before it has ended. */
  #clientGone: boolean;
  #closeHeld = false;
  #handlerDestroyed = false;

  constructor(res: ServerResponse, maxBytes: number) {
    this.#res = res;
    this.#maxBytes = maxBytes;
    this.#native = Object.fromEntries(
      OVERRIDDEN.map((name) => [name, res[name]]),
    ) as unknown as NativeMethods;
    this.#overrides = new Overrides(res);
    this.#before = readHead(res);
    this.#clientGone = res.destroyed;
    this.recorded = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    this.#overrideMethods();
    this.#disguiseProgress();
  }

  /** Whether bytes have left already, so that nothing else can be answered. */
  get streaming(): boolean {
    return this.#phase === "streaming";
  }

  /** Whether the handler gave the response up by destroying it. */
  get destroyed(): boolean {
    return this.#handlerDestroyed;
  }

  /** Sends what was recorded, or ends what was streamed. */
  send(): void {
    const [res, head, streamed] = [this.#res, this.#head, this.#phase === "streaming"];
    this.#stop();
    if (streamed) this.#endStream();
    else if (this.#clientGone) this.#endForNobody();
    // Somebody outside may have answered while the key was claimed.
    else if (head !== undefined && !res.headersSent) {
      const answer = { ...head, statusMessage: reasonPhrase(head), body: this.#body() };
      sendWhole(res, answer, this.#needsChunks(head), this.#whenSent);
    }
  }

  /** Makes the response what it was before the handler, for another answer in its place. */
  discard(): void {
    this.#stop();
    this.#chunks = [];
    if (this.#clientGone) this.#endForNobody();
    else if (!this.#res.headersSent) {
      resetHead(this.#res, this.#before);
      if (this.#whenSent !== undefined) this.#res.once("finish", this.#whenSent);
    }
  }

  /** Cuts the connection: the client must not take what it has for the whole answer. */
  abort(): void {
    this.#stop();
    this.#res.destroy();
  }

  #overrideMethods(): void {
    const [res, native] = [this.#res, this.#native];
    const passes = () => this.#phase === "done";
    const overrides: Record<(typeof OVERRIDDEN)[number], unknown> = {
      writeHead: (...args: unknown[]) =>
        this.#phase === "recording" ? this.#writeHead(args) : native.writeHead.apply(res, args),
      flushHeaders: () =>
        this.#phase === "recording" ? this.#flush() : native.flushHeaders.call(res),
      addTrailers: (trailers: Trailers) =>
        passes() ? native.addTrailers.call(res, trailers) : this.#addTrailers(trailers),
      write: (...args: unknown[]) => (passes() ? native.write.apply(res, args) : this.#write(args)),
      end: (...args: unknown[]) => {
        if (passes()) native.end.apply(res, args);
        else this.#end(args);
        return res;
      },
      destroy: (error?: Error) => {
        if (!passes()) this.#destroyed(error);
        return native.destroy.call(res, error);
      },
      emit: (event: string, ...args: unknown[]) =>
        !passes() && this.#keepsFromHandler(event) ? true : native.emit.call(res, event, ...args),
    };
    for (const name of OVERRIDDEN) this.#overrides.replace(name, overrides[name]);
  }

  #disguiseProgress(): void {
    const overrides = this.#overrides;
    const recording = () => this.#phase === "recording";
    overrides.disguise("_header", (header) => (recording() ? (this.#head?.text ?? null) : header));
    overrides.disguise("finished", (finished) => this.#ended || (!recording() && finished));
    overrides.disguise("destroyed", (destroyed) => !recording() && destroyed);
    overrides.disguise("_closed", (closed) => !recording() && closed);
  }

  #stop(): void {
    this.#phase = "done";
    this.#overrides.takeOff();
  }

  #writeHead(args: readonly unknown[]): ServerResponse {
    const res = this.#res;
    this.#head = composeHead(res, args, this.#ending);
    const contentType = String(res.getHeader("content-type") ?? "");
    if (/^text\/event-stream\b/i.test(contentType) && !this.#endsWithHead) this.#stream("streamed");
    return res;
  }

  /** By way of the instance, as Node does: whoever wrapped `writeHead` there is told that headers go out now. */
  #implicitHead(): void {
    if (this.#head !== undefined) return;
    this.#explicitHead = false;
    this.#res.writeHead(this.#res.statusCode);
  }

  #flush(): void {
    if (this.#ended) return;
    this.#implicitHead();
    if (this.#phase === "recording" && !this.#endsWithHead) this.#stream("streamed");
    if (this.#phase === "streaming") this.#native.flushHeaders.call(this.#res);
  }

  #addTrailers(trailers: Trailers): void {
    if (this.#ended) return;
    this.#native.addTrailers.call(this.#res, trailers);
    this.#trailers = trailerFields(trailers);
  }

  #write(args: readonly unknown[]): boolean {
    const { chunk, encoding, callback } = chunkArguments(args);
    // Node itself refuses what comes late or is no chunk.
    if (this.#ended || !isChunk(chunk)) {
      return Reflect.apply(prototypeOf(this.#res).write, this.#res, args) as boolean;
    }
    this.#implicitHead();
    if (this.#phase === "streaming") return this.#pass(chunkBytes(chunk, encoding), callback);
    const bytes = this.#isBodiless ? NO_BODY : keptBytes(chunk, encoding);
    if (this.#size + bytes.byteLength > this.#maxBytes) {
      this.#stream("too-large");
      return this.#pass(bytes, callback);
    }
    this.#chunks.push(bytes);
    this.#size += bytes.byteLength;
    if (callback !== undefined) process.nextTick(callback);
    return true;
  }

  #end(args: readonly unknown[]): void {
    const res = this.#res;
    const { chunk, encoding, callback } = chunkArguments(args);
    if (this.#ended) {
      Reflect.apply(prototypeOf(res).end, res, args);
      return;
    }
    // What is empty or zero is no chunk to Node; what else it does not take, its `write` says.
    if (chunk && !isChunk(chunk)) prototypeOf(res).write.call(res, chunk);
    this.#ending = true;
    this.#implicitHead();
    if (chunk && isChunk(chunk)) this.#lastChunk(chunk, encoding);
    this.#whenSent = callback;
    this.#ended = true;
    this.#resolve(this.#recording());
  }

  #lastChunk(chunk: string | Uint8Array, encoding: BufferEncoding | undefined): void {
    const bytes = chunkBytes(chunk, encoding);
    if (this.#phase === "streaming") {
      this.#pass(bytes);
      return;
    }
    if (this.#isBodiless) return;
    this.#size += bytes.byteLength;
    // What ends here is in memory already: it is sent whole, with its length, and only not stored.
    if (this.#size > this.#maxBytes) this.#tombstone = "too-large";
    // Bare, most bytes are with the kernel when `end` returns: a writer that reuses its buffer then must not change these.
    const owned = typeof chunk === "string" || this.#tombstone !== undefined;
    this.#chunks.push(owned ? bytes : Buffer.from(bytes));
  }

  /** From now on bytes leave at once, and the client's hanging up is the handler's business again. */
  #stream(reason: TombstoneReason): void {
    const [res, native, head] = [this.#res, this.#native, this.#head];
    const held = this.#body();
    this.#chunks = [];
    this.#size = 0;
    this.#tombstone = reason;
    this.#phase = "streaming";
    if (head === undefined) return;
    const { statusCode, statusMessage } = head;
    setStatus(res, statusCode, reasonPhrase(head));
    // An implicit head goes out with the first chunk, as always.
    if (this.#explicitHead) native.writeHead.call(res, statusCode, statusMessage);
    if (this.#closeHeld) {
      this.#resolve(this.#recording());
      process.nextTick(() => native.emit.call(res, "close"));
    }
    if (held.byteLength > 0) this.#pass(held);
  }

  /** Sends a streamed chunk, but for bytes that complete the declared length: the client would take that for the end. */
  #pass(bytes: Buffer, callback?: Callback): boolean {
    const left = Number(this.#res.getHeader("content-length") ?? Number.NaN) - this.#size;
    this.#size += bytes.byteLength;
    if (!(bytes.byteLength >= left)) return this.#native.write.call(this.#res, bytes, callback);
    // Beyond its length it is no part of this response: the client would read it as the start of the next one.
    if (left > 0) this.#chunks.push(Buffer.from(bytes.subarray(0, left)));
    if (callback !== undefined) process.nextTick(callback);
    return true;
  }

  #recording(): RecordedResponse {
    const head = this.#head ?? { ...readHead(this.#res), chunked: false };
    const { statusCode } = head;
    const statusMessage = reasonPhrase(head);
    const status = { statusCode, ...(statusMessage === undefined ? {} : { statusMessage }) };
    if (this.#tombstone !== undefined) {
      return { ...status, headers: [], body: NO_BODY, tombstone: this.#tombstone };
    }
    const headers = changedFields(head.headers, this.#before.headers);
    // Node sends trailers only where it sends chunks.
    const trailers = head.chunked && this.#trailers.length > 0 ? { trailers: this.#trailers } : {};
    return { ...status, headers, body: this.#body(), ...trailers };
  }

  #body(): Buffer {
    const [first = NO_BODY] = this.#chunks;
    if (this.#chunks.length > 1) this.#chunks = [Buffer.concat(this.#chunks)];
    return this.#chunks[0] ?? first;
  }

  /** Where chunks are not asked for, a length serves the client better: the body is there as a whole. */
  #needsChunks({ chunked }: ComposedHead): boolean {
    const res = this.#res;
    const asked = res.hasHeader("Transfer-Encoding") || res.hasHeader("Trailer");
    return chunked && (asked || this.#trailers.length > 0);
  }

  #endStream(): void {
    const res = this.#res;
    if (res.destroyed) return;
    // The stream may have ended short of a length it declared: too late to refuse that.
    res.strictContentLength = false;
    res.end(this.#body(), this.#whenSent);
  }

  /** The client is gone: what is left is to tell the handler, in the order it would have seen. */
  #endForNobody(): void {
    this.#res.end(this.#whenSent);
    if (this.#closeHeld) this.#res.emit("close");
  }

  #keepsFromHandler(event: string): boolean {
    // Bare, a late write is no event any more once the response is sent; here that may take as long as the store does.
    if (event === "error") return this.#ended && this.#res.listenerCount("error") === 0;
    if (event !== "close") return false;
    if (this.#phase === "recording") {
      this.#holdClose();
      return true;
    }
    // A stream that nobody takes is over; whether its handler goes on is not ours to know.
    this.#resolve(this.#recording());
    return false;
  }

  #holdClose(): void {
    const { socket } = this.#res;
    this.#clientGone = true;
    this.#closeHeld = true;
    // Frameworks take a response for finished when its socket is no longer writable, and would not answer at all.
    if (socket !== null) {
      this.#overrides.replace("socket", Object.create(socket, { writable: { value: true } }));
    }
  }

  #destroyed(error: Error | undefined): void {
    this.#handlerDestroyed = true;
    this.#reject(
      new Error("The handler destroyed the response before it ended it.", { cause: error }),
    );
    if (!this.#ended) this.#stop();
  }

  get #isBodiless(): boolean {
    return isBodiless(this.#res, this.#head?.statusCode ?? this.#res.statusCode);
  }

  /** Whether the client has the whole answer once it has the head. */
  get #endsWithHead(): boolean {
    return this.#isBodiless || Number(this.#res.getHeader("content-length") ?? Number.NaN) === 0;
  }
}

/** Only where it is not the standard one of the status. */
function reasonPhrase({ statusCode, statusMessage }: Head): string | undefined {
  return statusMessage === STATUS_CODES[statusCode] ? undefined : statusMessage;
}
