/** Reads a request's body up to a limit without taking it away from whoever reads the request next. */
import type { IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import { isUint8Array } from "node:util/types";

export type RequestBody =
  | {
      readonly state: "read";
      readonly body: Uint8Array;
      /** Media type of the bytes where it is not the request's own: a parsed body is JSON again. */
      readonly contentType?: string;
    }
  | { readonly state: "too-large" }
  /** The client stopped half-way: nobody is left to answer. */
  | { readonly state: "aborted" }
  /** Somebody read it before and left nothing behind. */
  | { readonly state: "consumed" };

/** What body parsers and platforms leave on a request. */
interface ParsedRequest extends IncomingMessage {
  readonly body?: unknown;
  readonly rawBody?: unknown;
}

const EMPTY: RequestBody = { state: "read", body: new Uint8Array(0) };

/** The body once it is read: a second middleware on the same request finds the bytes here. */
const BODY = Symbol("idempotency-kit.body");
const SHIELD = Symbol("idempotency-kit.shield");

/** Fields of the request, not maps beside it: weak maps that change with every request keep the collector busy. */
type ReadRequest = IncomingMessage & {
  [BODY]?: RequestBody;
  [SHIELD]?: Shield | undefined;
};

/** A request that was read is shielded from its client's hanging up, until {@link unshieldRequest}. */
export async function readRequestBody(req: ReadRequest, maxBytes: number): Promise<RequestBody> {
  const result = withinLimit(readBefore(req) ?? (await collect(req, maxBytes)), maxBytes);
  if (result.state === "read") {
    req[BODY] = result;
    req[SHIELD] ??= new Shield(req);
  }
  return result;
}

/** Takes the shield down, if it is up; the request is destroyed then if it would have been before. */
export function unshieldRequest(req: ReadRequest): void {
  const shield = req[SHIELD];
  req[SHIELD] = undefined;
  shield?.takeDown();
}

/** What there is to know without reading. */
function readBefore(req: ReadRequest): RequestBody | undefined {
  // RFC 9112 section 6.3: without either field a request has no body, and its stream is not touched.
  const { "content-length": declared = 0, "transfer-encoding": coding } = req.headers;
  const known = coding === undefined && Number(declared) === 0 ? EMPTY : req[BODY];
  // Destroyed before anybody read its end: the client is gone, and with it what no handler could read any more.
  if (req.destroyed && !req.readableEnded) return { state: "aborted" };
  return known ?? parsedBody(req);
}

function withinLimit(result: RequestBody, maxBytes: number): RequestBody {
  const tooLong = result.state === "read" && result.body.byteLength > maxBytes;
  return tooLong ? { state: "too-large" } : result;
}

/** The body as an earlier reader left it, if there was one. */
function parsedBody(req: ParsedRequest): RequestBody | undefined {
  const contentType = "application/json";
  if (isUint8Array(req.rawBody)) return { state: "read", body: req.rawBody };
  const consumed = req.readableEnded || req.readableDidRead || req.readableFlowing === true;
  if (!consumed) return undefined;
  // Of a multipart body parsers leave the fields there and the files elsewhere: other files would look the same.
  const partly = /^multipart\//i.test(req.headers["content-type"] ?? "");
  if (req.body === undefined || partly) return { state: "consumed" };
  if (isUint8Array(req.body)) return { state: "read", body: req.body };
  if (typeof req.body === "string") return { state: "read", body: Buffer.from(req.body) };
  return { state: "read", body: Buffer.from(JSON.stringify(req.body) ?? ""), contentType };
}

/**
 * Watches the body pass by on its way into the stream's own buffer, and lets it stay there: whoever reads the request
 * later finds an untouched stream, with all its events. `push` is where the HTTP parser hands over chunks; answering
 * it with `true` keeps the socket flowing beyond the stream's high-water mark, up to our own limit.
 */
function collect(req: IncomingMessage, maxBytes: number): Promise<RequestBody> {
  if (Number(req.headers["content-length"]) > maxBytes) {
    return Promise.resolve({ state: "too-large" });
  }
  const chunks: Buffer[] = [];
  let size = 0;
  if (req.readableLength > 0) {
    // What arrived before us can only be seen by reading; put back at once, before the stream could end.
    const early = req.read() as Buffer;
    req.unshift(early);
    chunks.push(early);
    size = early.byteLength;
  }
  if (size > maxBytes) return Promise.resolve({ state: "too-large" });
  if (req.complete) return Promise.resolve({ state: "read", body: joined(chunks) });

  return new Promise((resolve) => {
    const finish = (result: RequestBody) => {
      Reflect.deleteProperty(req, "push");
      req.off("close", onClose);
      resolve(result);
    };
    const onClose = () => finish({ state: "aborted" });
    req.once("close", onClose);
    const push = (chunk: Buffer | null, encoding?: BufferEncoding): boolean => {
      const more = Object.getPrototypeOf(req).push.call(req, chunk, encoding) as boolean;
      if (chunk === null) {
        finish({ state: "read", body: joined(chunks) });
        return more;
      }
      chunks.push(chunk);
      size += chunk.byteLength;
      if (size <= maxBytes) return true;
      finish({ state: "too-large" });
      return more;
    };
    // A variable first: V8 allocates functions that stand in an assignment to a property where garbage stays, and the
    // request with them.
    req.push = push;
  });
}

function joined(chunks: readonly Buffer[]): Buffer {
  const [only] = chunks;
  return only !== undefined && chunks.length === 1 ? only : Buffer.concat(chunks);
}

type Destroy = (error?: Error) => IncomingMessage;

/**
 * Keeps a request readable when its client hangs up: Node would destroy the stream, and the buffered body with it,
 * and a handler that has not read it yet would fail on a request that arrived whole. It is up from when the body is whole.
 */
class Shield {
  readonly #req: IncomingMessage;
  readonly #destroy: Destroy;
  readonly #socket: Socket;
  #held: NodeJS.ErrnoException | undefined;

  constructor(req: IncomingMessage) {
    this.#req = req;
    this.#destroy = (req as { destroy: Destroy }).destroy;
    this.#socket = req.socket;
    // ECONNRESET is what Node's server gives to every request of a connection that closed. A variable first, see `collect`.
    const destroy: Destroy = (error?: NodeJS.ErrnoException) =>
      error?.code === "ECONNRESET" && this.#socket.destroyed
        ? this.#hold(error)
        : this.#destroy.call(req, error);
    (req as { destroy: Destroy }).destroy = destroy;
  }

  takeDown(): void {
    // Assigned, not deleted: Node's code is slow for objects that lost a property.
    this.#req.destroy = this.#destroy;
    this.#req.socket = this.#socket;
    // Whoever read the body found it in the stream's buffer, and Node was not told. It would read the body again at the
    // end of the answer, for nobody, and drop the listeners for it.
    if (this.#req.readableDidRead) this.#req._read(0);
    if (this.#held !== undefined) this.#destroy.call(this.#req, this.#held);
  }

  #hold(error: NodeJS.ErrnoException): IncomingMessage {
    this.#held = error;
    // Body parsers take a request for finished when its socket is no longer readable.
    this.#req.socket = Object.create(this.#socket, { readable: { value: true } }) as Socket;
    return this.#req;
  }
}
