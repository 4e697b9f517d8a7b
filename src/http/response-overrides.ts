/**
 * What a recorder puts over one response, and takes off again. Always the same fields in the same order, by plain
 * assignment, and nothing is deleted: so that all responses keep one shape, which is what makes Node's code for them fast.
 */
import type { ServerResponse } from "node:http";
import type { NodeResponse } from "./response-head.js";

/** A response's methods as they were found, with their overloads as rest arguments. */
export interface NativeMethods {
  writeHead: (...args: unknown[]) => ServerResponse;
  flushHeaders: () => void;
  addTrailers: (trailers: unknown) => void;
  write: (...args: unknown[]) => boolean;
  end: (...args: unknown[]) => ServerResponse;
  destroy: (error?: Error) => ServerResponse;
  emit: (event: string, ...args: unknown[]) => boolean;
}

export function methodsOf(res: ServerResponse): NativeMethods {
  const { writeHead, flushHeaders, addTrailers, write, end, destroy, emit } =
    res as unknown as NativeMethods;
  return { writeHead, flushHeaders, addTrailers, write, end, destroy, emit };
}

/** Whatever was put over the methods that are replaced goes with them. */
export function setMethods(res: ServerResponse, methods: NativeMethods): void {
  const target = res as unknown as NativeMethods;
  target.writeHead = methods.writeHead;
  target.flushHeaders = methods.flushHeaders;
  target.addTrailers = methods.addTrailers;
  target.write = methods.write;
  target.end = methods.end;
  target.destroy = methods.destroy;
  target.emit = methods.emit;
}

/** Whose response it is for now, and whether that one takes it for ended. */
interface Owner {
  readonly ended: boolean;
}

const OWNER = Symbol("idempotency-kit.owner");

type OwnedResponse = ServerResponse & { [OWNER]?: Owner | undefined };

/** One function for all responses: an accessor of its own would give each of them a shape of its own. */
const WRITABLE_ENDED: PropertyDescriptor = {
  configurable: true,
  enumerable: true,
  get(this: OwnedResponse): boolean {
    return this[OWNER]?.ended === true || this.finished;
  },
};

/** @returns Gives the response back to whom it belonged before. */
export function own(res: OwnedResponse, owner: Owner): () => void {
  const before = res[OWNER];
  res[OWNER] = owner;
  const found = Object.hasOwn(res, "writableEnded")
    ? Object.getOwnPropertyDescriptor(res, "writableEnded")
    : undefined;
  const foreign = found !== undefined && found.get !== WRITABLE_ENDED.get;
  if (found === undefined || foreign) Object.defineProperty(res, "writableEnded", WRITABLE_ENDED);
  return () => {
    res[OWNER] = before;
    if (foreign) Object.defineProperty(res, "writableEnded", found);
  };
}

/**
 * How far a response really is, kept from the handler: to it, a response has nothing sent but the head it made, and
 * a client that is still there. `headersSent` and its kind are getters over these fields.
 */
export class HiddenProgress {
  readonly #res: NodeResponse;
  readonly #header: string | null;
  readonly #finished: boolean;
  #destroyed = false;
  #closed = false;
  #shownHeader: string | null = null;

  constructor(res: ServerResponse) {
    this.#res = res as unknown as NodeResponse;
    this.#header = this.#res._header;
    this.#finished = this.#res.finished;
    this.#res._header = null;
    this.#res.finished = false;
    this.hideClose();
  }

  /** Lets a head look as if it had been sent. */
  showHeader(text: string): void {
    this.#shownHeader = text;
    this.#res._header = text;
  }

  /** Hides that the client has left, which Node has just written down. */
  hideClose(): void {
    const res = this.#res;
    this.#destroyed ||= res.destroyed;
    this.#closed ||= res._closed;
    res.destroyed = false;
    res._closed = false;
  }

  /** Puts back what is true, short of what has become true meanwhile. */
  reveal(): void {
    const res = this.#res;
    if (res._header === this.#shownHeader) res._header = this.#header;
    res.finished ||= this.#finished;
    res.destroyed ||= this.#destroyed;
    res._closed ||= this.#closed;
  }
}
