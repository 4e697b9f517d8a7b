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
import type { ServerResponse } from "node:http";
import { sendWhole } from "./answer.js";
import { loosen } from "./loosen.js";
import { chunkArguments, chunkBytes, HeldBytes, isChunk, ownBytes } from "./response-chunks.js";
import type { Callback } from "./response-chunks.js";
import { HeldClose, isHangUp } from "./response-close.js";
import {
  asksForChunks,
  composeHead,
  endsWithHead,
  isBodiless,
  isEventStream,
  prototypeOf,
  readHead,
  recordingOf,
  resetHead,
  setStatus,
  statusOf,
  tombstoneOf,
  trailerFields,
  type ComposedHead,
  type Head,
  type Trailers,
} from "./response-head.js";
import { HiddenProgress, methodsOf, own, setMethods } from "./response-overrides.js";
import type { NativeMethods } from "./response-overrides.js";
import { StreamedBody } from "./streamed-body.js";
import { recordingOfAnswer, type Answer } from "./whole-answer.js";
import type { HeaderFields, RecordedResponse, TombstoneReason } from "../store.js";

export class ResponseRecorder {
  readonly #res: ServerResponse;
  readonly #maxBytes: number;
  readonly #native: NativeMethods;
  readonly #progress: HiddenProgress;
  readonly #disown: () => void;
  /** Of the client, which the handler is not told before it has ended. */
  readonly #hangUp: HeldClose;
  readonly #before: Head;
  readonly #resolve: (recorded: RecordedResponse) => void;
  readonly #reject: (error: Error) => void;
  #phase: "recording" | "streaming" | "done" = "recording";
  /** The head as the handler sent it: a later change of `statusCode` has no effect, as always. */
  #head: ComposedHead | undefined;
  /** Whether the handler called `writeHead` itself. */
  #explicitHead = true;
  /** The body so far, held back. */
  readonly #held = new HeldBytes();
  #size = 0;
  /** What has the body while it streams. */
  #stream: StreamedBody | undefined;
  #trailers: HeaderFields = [];
  /** What is recorded of a response that streams, or that outgrew the limit with its end. */
  #tombstone: RecordedResponse | undefined;
  /** The handler ends the response: a head composed from now on knows the body's length. */
  #ending = false;
  #ended = false;
  #whenSent: Callback | undefined;
  #handlerDestroyed = false;

  /** Resolves with what the handler answered once it has ended it, rejects where it destroyed the response instead. */
  constructor(
    res: ServerResponse,
    maxBytes: number,
    resolve: (recorded: RecordedResponse) => void,
    reject: (error: Error) => void,
  ) {
    this.#res = res;
    this.#maxBytes = maxBytes;
    this.#resolve = resolve;
    this.#reject = reject;
    loosen(res);
    this.#native = methodsOf(res);
    this.#before = readHead(res);
    this.#hangUp = new HeldClose(res);
    this.#progress = new HiddenProgress(res);
    this.#disown = own(res, this);
    setMethods(res, this.#overrides());
  }

  /** Whether bytes have left already, so that nothing else can be answered. */
  get streaming(): boolean {
    return this.#phase === "streaming";
  }

  /** Whether the handler has ended what it answers. `finished` tells less: a server that closes goes by it. */
  get ended(): boolean {
    return this.#phase !== "done" && this.#ended;
  }

  /** Whether the handler gave the response up by destroying it. */
  get destroyed(): boolean {
    return this.#handlerDestroyed;
  }

  /** What would be recorded if the handler answered so instead of writing. */
  recordingOf(answer: Answer): RecordedResponse {
    if (this.#head !== undefined) throw new Error("commitWith: the answer has begun already.");
    return recordingOfAnswer(this.#res, this.#before, this.#maxBytes, answer);
  }

  /** Sends what was recorded, or ends what was streamed; `addFields` may add to a head that has not left. */
  send(addFields?: () => void): void {
    const res = this.#res;
    const head = this.#head;
    const stream = this.#stream;
    this.#stop();
    if (stream !== undefined) stream.end(this.#whenSent);
    else if (this.#hangUp.gone) this.#endForNobody();
    // Somebody outside may have answered while the key was claimed.
    else if (head !== undefined && !res.headersSent) {
      addFields?.();
      const answer = { ...statusOf(head), body: this.#held.take() };
      // Where nothing asks for chunks, a length serves the client better: the body is there as a whole.
      const chunked = head.chunked && (this.#trailers.length > 0 || asksForChunks(res));
      sendWhole(res, answer, chunked, this.#whenSent);
    }
  }

  /** Makes the response what it was before the handler, for another answer in its place. */
  discard(): void {
    const res = this.#res;
    this.#stop();
    this.#held.take();
    if (this.#hangUp.gone) this.#endForNobody();
    else if (!res.headersSent) {
      resetHead(res, this.#before);
      if (this.#whenSent !== undefined) res.once("finish", this.#whenSent);
    }
  }

  /** Cuts the connection: the client must not take what it has for the whole answer. */
  abort(): void {
    this.#stop();
    this.#res.destroy();
  }

  /**
   * Each is a variable first: functions that stand where a property is assigned, or in an object literal, V8 allocates where
   * garbage waits for the next full collection, and the whole request would wait with it.
   */
  #overrides(): NativeMethods {
    const res = this.#res;
    const native = this.#native;
    const passes = () => this.#phase === "done";
    const writeHead: NativeMethods["writeHead"] = (...args) =>
      this.#phase === "recording" ? this.#writeHead(args) : native.writeHead.apply(res, args);
    const flushHeaders: NativeMethods["flushHeaders"] = () =>
      this.#phase === "recording" ? this.#flush() : native.flushHeaders.call(res);
    const addTrailers: NativeMethods["addTrailers"] = (trailers) =>
      passes() ? native.addTrailers.call(res, trailers) : this.#addTrailers(trailers as Trailers);
    const write: NativeMethods["write"] = (...args) =>
      passes() ? native.write.apply(res, args) : this.#write(args);
    const end: NativeMethods["end"] = (...args) => {
      if (passes()) native.end.apply(res, args);
      else this.#end(args);
      return res;
    };
    const destroy: NativeMethods["destroy"] = (error) =>
      passes() ? native.destroy.call(res, error) : this.#destroy(error);
    const emit: NativeMethods["emit"] = (event, ...args) =>
      !passes() && this.#withholds(event) ? true : native.emit.call(res, event, ...args);
    return { writeHead, flushHeaders, addTrailers, write, end, destroy, emit };
  }

  #stop(): void {
    if (this.#phase === "done") return;
    if (this.#phase === "recording") this.#progress.reveal();
    this.#phase = "done";
    this.#disown();
    this.#hangUp.release();
    setMethods(this.#res, this.#native);
  }

  #writeHead(args: readonly unknown[]): ServerResponse {
    const res = this.#res;
    const head = this.#compose(args);
    if (isEventStream(res) && !endsWithHead(res, head)) this.#startStream("streamed", head);
    return res;
  }

  /** By way of the instance, as Node does: whoever wrapped `writeHead` there is told that headers go out now. */
  #implicitHead(): ComposedHead {
    const res = this.#res;
    if (this.#head === undefined) {
      this.#explicitHead = false;
      res.writeHead(res.statusCode);
    }
    return this.#head ?? this.#compose([res.statusCode]);
  }

  #compose(args: readonly unknown[]): ComposedHead {
    this.#head = composeHead(this.#res, args, this.#ending);
    this.#progress.showHeader(this.#head.text);
    return this.#head;
  }

  #flush(): void {
    if (this.#ended) return;
    const res = this.#res;
    const head = this.#implicitHead();
    if (this.#phase === "recording" && !endsWithHead(res, head))
      this.#startStream("streamed", head);
    if (this.#stream !== undefined) this.#native.flushHeaders.call(res);
  }

  #addTrailers(trailers: Trailers): void {
    if (this.#ended) return;
    this.#native.addTrailers.call(this.#res, trailers);
    this.#trailers = trailerFields(trailers);
  }

  #write(args: readonly unknown[]): boolean {
    const { chunk, encoding, callback } = chunkArguments(args);
    if (this.#ended || !isChunk(chunk)) return this.#refuse("write", args) as boolean;
    const head = this.#implicitHead();
    const bytes = chunkBytes(chunk, encoding);
    if (this.#stream !== undefined) return this.#stream.pass(bytes, callback);
    const length = isBodiless(this.#res, head) ? 0 : bytes.byteLength;
    if (this.#size + length > this.#maxBytes) {
      return this.#startStream("too-large", head).pass(bytes, callback);
    }
    if (length > 0) this.#held.add(ownBytes(chunk, bytes));
    this.#size += length;
    if (callback !== undefined) process.nextTick(callback);
    return true;
  }

  #end(args: readonly unknown[]): void {
    if (this.#ended) return void this.#refuse("end", args);
    const { chunk, encoding, callback } = chunkArguments(args);
    // What is empty or zero is no chunk to Node either.
    if (chunk && !isChunk(chunk)) this.#refuse("write", [chunk]);
    this.#ending = true;
    const head = this.#implicitHead();
    if (chunk && isChunk(chunk)) this.#lastChunk(chunk, chunkBytes(chunk, encoding), head);
    this.#whenSent = callback;
    this.#ended = true;
    const { whole } = this.#held;
    this.#resolve(this.#tombstone ?? recordingOf(head, this.#before, whole, this.#trailers));
  }

  /** What comes after the end or is no chunk, Node itself refuses, taking the response for what it seems to be. */
  #refuse(method: "write" | "end", args: readonly unknown[]): unknown {
    const res = this.#res as { finished: boolean } & ServerResponse;
    const { finished } = res;
    res.finished ||= this.#ended;
    try {
      return Reflect.apply(prototypeOf(res)[method], res, args);
    } finally {
      res.finished = finished;
    }
  }

  #lastChunk(chunk: string | Uint8Array, bytes: Buffer, head: ComposedHead): void {
    if (this.#stream !== undefined) this.#stream.pass(bytes);
    else if (isBodiless(this.#res, head)) return;
    else if (this.#size + bytes.byteLength <= this.#maxBytes) {
      // Bare, the kernel has the bytes when `end` returns, and a writer may count on that to reuse its buffer.
      this.#held.add(ownBytes(chunk, bytes));
    } else {
      // It is in memory already: it is sent whole, with its length, and only not stored.
      this.#held.add(bytes);
      this.#tombstone = tombstoneOf(head, "too-large");
    }
  }

  /** From now on bytes leave at once, and the client's hanging up is the handler's business again. */
  #startStream(reason: TombstoneReason, head: ComposedHead): StreamedBody {
    const [res, native] = [this.#res, this.#native];
    const stream = new StreamedBody(res, native);
    const held = this.#held.take();
    this.#stream = stream;
    this.#tombstone = tombstoneOf(head, reason);
    this.#progress.reveal();
    this.#phase = "streaming";
    const status = statusOf(head);
    setStatus(res, status);
    // An implicit head goes out with the first chunk, as always.
    if (this.#explicitHead) native.writeHead.call(res, status.statusCode, status.statusMessage);
    if (this.#hangUp.gone) {
      this.#resolve(this.#tombstone);
      process.nextTick(() => this.#hangUp.tell());
    }
    if (held.byteLength > 0) stream.pass(held);
    return stream;
  }

  /** The client is gone: what is left is to tell the handler, in the order it would have seen. */
  #endForNobody(): void {
    this.#res.end(this.#whenSent);
    this.#hangUp.tell();
  }

  /** Whether an event is withheld. */
  #withholds(event: string): boolean {
    // Bare, a late write is no event any more once the response is sent; here that may take as long as the store does.
    if (event === "error") return this.#ended && this.#res.listenerCount("error") === 0;
    if (event === "close") this.#clientLeft();
    return event === "close" && this.#phase === "recording";
  }

  #clientLeft(): void {
    if (this.#phase === "recording") {
      this.#hangUp.hold();
      this.#progress.hideClose();
    }
    // A stream that nobody takes is over; whether its handler goes on is not ours to know.
    else if (this.#tombstone !== undefined) this.#resolve(this.#tombstone);
  }

  #destroy(error: Error | undefined): ServerResponse {
    const [res, native] = [this.#res, this.#native];
    if (!isHangUp(res, error)) this.#giveUp(error);
    else this.#clientLeft();
    native.destroy.call(res, error);
    if (this.#phase === "recording") this.#progress.hideClose();
    return res;
  }

  #giveUp(error: Error | undefined): void {
    this.#handlerDestroyed = true;
    this.#reject(
      new Error("The handler destroyed the response before it ended it.", { cause: error }),
    );
    this.#stop();
  }
}
