/** A client's hanging up, kept from a handler that is to finish all the same. */
import type { ServerResponse } from "node:http";
import type { Overrides } from "./response-overrides.js";

export class HeldClose {
  readonly #res: ServerResponse;
  readonly #overrides: Overrides;
  /** Who was told before there was a handler. */
  readonly #told: ReadonlySet<unknown>;
  #gone: boolean;

  constructor(res: ServerResponse, overrides: Overrides) {
    this.#res = res;
    this.#overrides = overrides;
    this.#gone = res.destroyed;
    this.#told = new Set(this.#gone ? res.rawListeners("close") : []);
  }

  /** Whether the client has hung up. */
  get gone(): boolean {
    return this.#gone;
  }

  hold(): void {
    const { socket } = this.#res;
    // Frameworks take a response for finished when its socket is no longer writable, and would not answer at all.
    if (!this.#gone && socket !== null) {
      const writable = Object.create(socket, { writable: { value: true } }) as unknown;
      this.#overrides.replace("socket", { value: writable, writable: true });
    }
    this.#gone = true;
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
