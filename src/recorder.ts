/**
 * Records what a handler writes to a `http.ServerResponse`, and sends it only when told to.
 *
 * The response keeps its identity (frameworks hold on to it), so its methods are overridden on the instance. Header
 * fields go to the real response, which validates them as always; the head, the body and the end are held back.
 * To the handler it looks as if they had been sent: `headersSent`, `writableEnded`, the errors of a second
 * `writeHead` or a late `write`. Three phases:
 *
 * - `recording`: everything is held back, up to `maxBytes`. A client that hangs up is not noticed;
 * - `streaming`: the response outgrew that, was flushed, or is an event stream: bytes leave at once, only the end
 *   is held back, and what is recorded is a tombstone. A client that hangs up ends the recording;
 * - `done`: sent or discarded; every override passes through.
 */
import { STATUS_CODES, type ServerResponse } from "node:http";
import { chunkArguments, chunkBytes, headersSent, writeAfterEnd } from "./response-chunks.js";
import type { Callback } from "./response-chunks.js";
import { applyHead, changedFields, fieldsOf, readHead, resetHead } from "./response-head.js";
import type { Head, WriteHeadArguments } from "./response-head.js";
import type { HeaderFields, RecordedResponse, TombstoneReason } from "./store.js";

const OVERRIDDEN = [
  "setHeader",
  "appendHeader",
  "removeHeader",
  "writeHead",
  "flushHeaders",
  "addTrailers",
  "write",
  "end",
  "destroy",
  "emit",
] as const;

/** The response's methods as they were found, with their overloads as rest arguments. */
interface NativeMethods extends Pick<
  ServerResponse,
  "setHeader" | "appendHeader" | "removeHeader" | "flushHeaders" | "destroy" | "emit"
> {
  writeHead(...args: readonly unknown[]): ServerResponse;
  addTrailers(trailers: unknown): void;
  write(...args: readonly unknown[]): boolean;
  end(...args: readonly unknown[]): ServerResponse;
}

const NO_BODY = Buffer.alloc(0);

export class ResponseRecorder {
  /** What the handler answered, once it has ended it. Rejects where the handler destroyed the response instead. */
  readonly recorded: Promise<RecordedResponse>;

  readonly #res: ServerResponse;
  readonly #maxBytes: number;
  readonly #native: NativeMethods;
  readonly #before: Head;
  #resolve!: (recorded: RecordedResponse) => void;
  #reject!: (error: Error) => void;
  #phase: "recording" | "streaming" | "done" = "recording";
  /** The head as the handler sent it: a later change of `statusCode` has no effect, as always. */
  #head: Head | undefined;
  #chunks: Buffer[] = [];
  #size = 0;
  #trailers: HeaderFields = [];
  #tombstone: TombstoneReason | undefined;
  #ended = false;
  /** The client has hung up, and the handler is not told before it has ended. */
  #clientGone: boolean;
  #closeHeld = false;
  #handlerDestroyed = false;

  constructor(res: ServerResponse, maxBytes: number) {
    this.#res = res;
    this.#maxBytes = maxBytes;
    this.#native = Object.fromEntries(
      OVERRIDDEN.map((name) => [name, res[name]]),
    ) as unknown as NativeMethods;
    this.#before = readHead(res);
    this.#clientGone = res.destroyed;
    this.recorded = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    this.#overrideMethods();
    this.#overrideProgress();
  }

  /** Whether bytes have left already, so that nothing else can be answered. */
  get streaming(): boolean {
    return this.#phase === "streaming" && !this.#clientGone;
  }

  /** Whether the handler gave the response up by destroying it. */
  get destroyed(): boolean {
    return this.#handlerDestroyed;
  }

  /** Sends what was recorded, or ends what was streamed. */
  send(): void {
    const [res, native] = [this.#res, this.#native];
    const streamed = this.#phase === "streaming";
    this.#phase = "done";
    if (this.#clientGone) this.#endForNobody();
    else if (streamed) native.end.call(res, this.#body());
    else this.#sendRecorded();
  }

  /** Makes the response what it was before the handler, for another answer in its place. */
  discard(): void {
    this.#phase = "done";
    this.#chunks = [];
    // Wrappers that the handler's side put around the overrides have seen the end already: drop them too.
    Object.assign(this.#res, this.#native);
    if (this.#clientGone) this.#endForNobody();
    else resetHead(this.#res, this.#before);
  }

  /** Cuts the connection: the client must not take what it has for the whole answer. */
  abort(): void {
    this.#phase = "done";
    this.#native.destroy.call(this.#res);
  }

  #overrideMethods(): void {
    const [res, native] = [this.#res, this.#native];
    const beforeHead = (action: string) => {
      if (this.#phase === "recording" && this.#head !== undefined) throw headersSent(action);
    };
    const overrides = {
      setHeader: (name: string, value: number | string | readonly string[]) => {
        beforeHead("set");
        return native.setHeader.call(res, name, value);
      },
      appendHeader: (name: string, value: string | readonly string[]) => {
        beforeHead("append");
        return native.appendHeader.call(res, name, value);
      },
      removeHeader: (name: string) => {
        beforeHead("remove");
        native.removeHeader.call(res, name);
      },
      writeHead: (...args: WriteHeadArguments) => {
        beforeHead("write");
        if (this.#phase !== "recording") return native.writeHead.apply(res, args);
        this.#writeHead(args);
        return res;
      },
      flushHeaders: () => {
        this.#implicitHead();
        if (this.#phase === "recording") this.#stream("streamed");
        if (!this.#clientGone) native.flushHeaders.call(res);
      },
      addTrailers: (trailers: NodeJS.ReadOnlyDict<string> | readonly [string, string][]) => {
        if (this.#phase === "recording") this.#trailers = fieldsOf(trailers);
        else native.addTrailers.call(res, trailers);
      },
      write: (...args: unknown[]): boolean =>
        this.#phase === "done" ? native.write.apply(res, args) : this.#write(args),
      end: (...args: unknown[]) => {
        if (this.#phase === "done") native.end.apply(res, args);
        else this.#end(args);
        return res;
      },
      destroy: (error?: Error) => {
        this.#destroyed(error);
        return native.destroy.call(res, error);
      },
      emit: (event: string, ...args: unknown[]): boolean => {
        if (event === "close" && this.#holdsClose()) return true;
        return native.emit.call(res, event, ...args);
      },
    };
    Object.assign(res, overrides);
  }

  /**
   * The properties by which Node and frameworks tell how far a response is. `writableEnded` and `closed` are
   * getters over `finished` and `_closed`, which are plain properties that Node itself writes to.
   */
  #overrideProgress(): void {
    const res = this.#res;
    const native = res as unknown as Record<string, unknown>;
    const override = (name: string, seen: (actual: unknown) => unknown) => {
      let actual = native[name];
      Object.defineProperty(res, name, {
        configurable: true,
        enumerable: true,
        get: () => (this.#phase === "done" ? actual : seen(actual)),
        set: (value: unknown) => {
          actual = value;
        },
      });
    };
    override("finished", (actual) => this.#ended || actual);
    override("destroyed", (actual) => !this.#clientGone && actual);
    override("_closed", (actual) => !this.#clientGone && actual);
    const prototype: object = Object.getPrototypeOf(res);
    Object.defineProperty(res, "headersSent", {
      configurable: true,
      get: () =>
        this.#phase === "recording"
          ? this.#head !== undefined
          : Reflect.get(prototype, "headersSent", res),
    });
  }

  #writeHead(args: WriteHeadArguments): void {
    applyHead(this.#res, this.#native, args);
    this.#head = readHead(this.#res);
    const contentType = this.#res.getHeader("content-type");
    if (typeof contentType === "string" && /^text\/event-stream\b/i.test(contentType)) {
      this.#stream("streamed");
    }
  }

  /** By way of the instance, as Node does: whoever wrapped `writeHead` there is told that headers go out now. */
  #implicitHead(): void {
    if (this.#head === undefined) this.#res.writeHead(this.#res.statusCode);
  }

  #write(args: readonly unknown[]): boolean {
    const { chunk, encoding, callback } = chunkArguments(args);
    if (this.#ended) return this.#refuseLate(callback);
    // A copy, because a writer may reuse its buffer once it is told that it was written.
    const bytes = Buffer.from(chunkBytes(chunk, encoding));
    this.#implicitHead();
    if (this.#phase === "recording") this.#keep(bytes);
    else if (!this.#holdsBack(bytes)) return this.#native.write.call(this.#res, bytes, callback);
    if (callback !== undefined) process.nextTick(callback);
    return true;
  }

  #end(args: readonly unknown[]): void {
    const { chunk, encoding, callback } = chunkArguments(args);
    if (this.#ended && chunk) {
      this.#refuseLate(callback);
      return;
    }
    if (callback !== undefined) this.#res.once("finish", callback);
    if (this.#ended) return;
    const bytes = chunk ? chunkBytes(chunk, encoding) : NO_BODY;
    const framed = this.#head === undefined || this.#res.hasHeader("content-length");
    this.#implicitHead();
    // Node sends trailers only where it sends chunks.
    if (framed || this.#bodiless) this.#trailers = [];
    if (!this.#bodiless) this.#chunks.push(bytes);
    this.#size += bytes.byteLength;
    // What ends here is in memory already: it is sent whole, with its length, and only not stored.
    if (this.#size > this.#maxBytes) this.#tombstone ??= "too-large";
    this.#ended = true;
    this.#resolve(this.#recording());
  }

  #keep(bytes: Buffer): void {
    if (this.#bodiless) return;
    this.#chunks.push(bytes);
    this.#size += bytes.byteLength;
    if (this.#size > this.#maxBytes) this.#stream("too-large");
  }

  /** From now on bytes leave at once; the client's hanging up is the handler's business again. */
  #stream(reason: TombstoneReason): void {
    const [res, native, head] = [this.#res, this.#native, this.#head];
    const chunks = this.#chunks.splice(0);
    this.#tombstone = reason;
    this.#phase = "streaming";
    this.#size = 0;
    if (this.#clientGone || head === undefined) return;
    native.writeHead.call(res, head.statusCode, head.statusMessage);
    for (const chunk of chunks) if (!this.#holdsBack(chunk)) native.write.call(res, chunk);
  }

  /** Whether a streamed chunk must wait for the end: it completes the declared length, or nobody takes it. */
  #holdsBack(bytes: Buffer): boolean {
    this.#size += bytes.byteLength;
    if (this.#clientGone) return true;
    const declared = this.#res.getHeader("content-length");
    if (declared === undefined || this.#size < Number(declared)) return false;
    this.#chunks.push(bytes);
    return true;
  }

  #recording(): RecordedResponse {
    const head = this.#head ?? this.#before;
    const standard = head.statusMessage === STATUS_CODES[head.statusCode];
    return {
      statusCode: head.statusCode,
      ...(standard ? {} : { statusMessage: head.statusMessage }),
      ...(this.#tombstone === undefined
        ? { headers: changedFields(head.headers, this.#before.headers), body: this.#body() }
        : { headers: [], body: NO_BODY, tombstone: this.#tombstone }),
      ...(this.#trailers.length > 0 ? { trailers: this.#trailers } : {}),
    };
  }

  #body(): Buffer {
    const [first = NO_BODY] = this.#chunks;
    if (this.#chunks.length > 1) this.#chunks = [Buffer.concat(this.#chunks)];
    return this.#chunks[0] ?? first;
  }

  #sendRecorded(): void {
    const [res, native, head] = [this.#res, this.#native, this.#head ?? this.#before];
    const body = this.#body();
    res.statusCode = head.statusCode;
    res.statusMessage = head.statusMessage;
    if (this.#bodiless) {
      native.end.call(res);
      return;
    }
    // The length that the handler declared may be wrong; the one that leaves is not.
    if (res.hasHeader("content-length")) {
      native.setHeader.call(res, "Content-Length", body.byteLength);
    }
    if (this.#trailers.length > 0) {
      native.writeHead.call(res, head.statusCode, head.statusMessage);
      native.write.call(res, body);
      native.addTrailers.call(res, this.#trailers);
      native.end.call(res);
    } else native.end.call(res, body);
  }

  /** The client is gone: what is left is to tell the handler, in the order it would have seen. */
  #endForNobody(): void {
    this.#native.end.call(this.#res);
    if (this.#closeHeld) this.#native.emit.call(this.#res, "close");
  }

  #holdsClose(): boolean {
    // A stream that nobody takes is over; whether its handler goes on is not ours to know.
    if (this.#phase === "streaming" && !this.#clientGone) this.#resolve(this.#recording());
    if (this.#phase !== "recording") return this.#closeHeld && this.#phase !== "done";
    this.#clientGone = true;
    this.#closeHeld = true;
    return true;
  }

  #destroyed(error: Error | undefined): void {
    if (this.#phase === "done") return;
    if (!this.#ended) this.#phase = "done";
    this.#handlerDestroyed = true;
    this.#reject(
      new Error("The handler destroyed the response before it ended it.", { cause: error }),
    );
  }

  #refuseLate(callback: Callback | undefined): false {
    const error = writeAfterEnd();
    process.nextTick(() => {
      callback?.(error);
      this.#res.emit("error", error);
    });
    return false;
  }

  /** Answers to HEAD, and 1xx, 204 and 304, have no body (RFC 9110 section 6.4.1); Node ignores what is written. */
  get #bodiless(): boolean {
    const statusCode = this.#head?.statusCode ?? this.#res.statusCode;
    return (
      this.#res.req.method === "HEAD" ||
      statusCode === 204 ||
      statusCode === 304 ||
      statusCode < 200
    );
  }
}
