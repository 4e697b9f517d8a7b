/** Overrides on one response: put on, looked through, and taken off again. */
import type { ServerResponse } from "node:http";

const METHODS = [
  "writeHead",
  "flushHeaders",
  "addTrailers",
  "write",
  "end",
  "destroy",
  "emit",
] as const;

/** A response's methods as they were found, with their overloads as rest arguments. */
export interface NativeMethods extends Pick<ServerResponse, "flushHeaders" | "destroy" | "emit"> {
  writeHead(...args: readonly unknown[]): ServerResponse;
  addTrailers(trailers: unknown): void;
  write(...args: readonly unknown[]): boolean;
  end(...args: readonly unknown[]): ServerResponse;
}

export function nativeMethods(res: ServerResponse): NativeMethods {
  return Object.fromEntries(METHODS.map((name) => [name, res[name]])) as unknown as NativeMethods;
}

/** The plain properties by which Node knows how far a response is; `headersSent` and its kind are getters over them. */
interface Progress {
  _header: string | null;
  finished: boolean;
  destroyed: boolean;
  _closed: boolean;
}

export class Overrides {
  readonly #res: ServerResponse;
  #undo: (() => void)[] = [];

  constructor(res: ServerResponse) {
    this.#res = res;
  }

  /** Puts something in the place of a method or property; whatever is put over it goes with it. */
  replace(name: string, by: PropertyDescriptor): void {
    const found = Object.getOwnPropertyDescriptor(this.#res, name);
    this.#define(name, by);
    this.#undo.push(() => {
      if (found === undefined) Reflect.deleteProperty(this.#res, name);
      else Object.defineProperty(this.#res, name, found);
    });
  }

  /** Shows others something else than what Node writes to a property. */
  disguise<K extends keyof Progress>(name: K, seen: (actual: Progress[K]) => Progress[K]): void {
    let actual = (this.#res as unknown as Progress)[name];
    this.#define(name, {
      get: () => seen(actual),
      set: (value: Progress[K]) => {
        actual = value;
      },
    });
    this.#undo.push(() => this.#define(name, { value: actual, writable: true }));
  }

  takeOff(): void {
    for (const undo of this.#undo.splice(0).toReversed()) undo();
  }

  #define(name: string, descriptor: PropertyDescriptor): void {
    const visible = { configurable: true, enumerable: true };
    Object.defineProperty(this.#res, name, { ...visible, ...descriptor });
  }
}
