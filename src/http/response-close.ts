/** A client's hanging up, kept from a handler that is to finish all the same. */
import type { ServerResponse } from "node:http";

const NOBODY: ReadonlySet<unknown> = new Set();

export class HeldClose {
  readonly #res: ServerResponse;
  /** Who was told before there was a handler. */
  readonly #told: ReadonlySet<unknown>;
  #gone: boolean;
  #socket: PropertyDescriptor | "inherited" | undefined;

  constructor(res: ServerResponse) {
    this.#res = res;
    this.#gone = res.destroyed;
    this.#told = this.#gone ? new Set(res.rawListeners("close")) : NOBODY;
  }

  /** Whether the client has hung up. */
  get gone(): boolean {
    return this.#gone;
  }

  hold(): void {
    const { socket } = this.#res;
    // Frameworks take a response for finished when its socket is no longer writable, and would not answer at all.
    if (!this.#gone && socket !== null) {
      // From Node 24 on it is an accessor of the prototype, over what Node itself goes on to use.
      this.#socket = Object.getOwnPropertyDescriptor(this.#res, "socket") ?? "inherited";
      const value = Object.create(socket, { writable: { value: true } }) as unknown;
      const visible = { configurable: true, enumerable: true, writable: true };
      Object.defineProperty(this.#res, "socket", { ...visible, value });
    }
    this.#gone = true;
  }

  /** Shows the socket as it is. */
  release(): void {
    const found = this.#socket;
    if (found === "inherited") Reflect.deleteProperty(this.#res, "socket");
    else if (found !== undefined) Object.defineProperty(this.#res, "socket", found);
    this.#socket = undefined;
  }

  tell(): void {
    const untold = this.#res.rawListeners("close").filter((listener) => !this.#told.has(listener));
    for (const listener of untold) Reflect.apply(listener, this.#res, []);
  }
}

/** Node from 22 on destroys so the responses that wait for their turn on a connection that closed. */
export function isHangUp(res: ServerResponse, error: NodeJS.ErrnoException | undefined): boolean {
  return res.socket === null && res.req.socket.destroyed && error?.code === "ECONNRESET";
}
