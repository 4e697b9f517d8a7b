/** What a handler knows of the execution that it is, and may say of it. */
import type { Lease } from "../store.js";
import type { Heartbeat } from "./heartbeat.js";

/** What a handler may know of its right to execute. */
export interface Execution {
  /** The lease's token, unique to this execution: pass it downstream where a callee can compare it. */
  readonly token: string;
  /** Whether the lease is proven to hold at this moment. */
  readonly held: boolean;
  /** Aborts when the lease is lost: another request may execute from then on. */
  readonly signal: AbortSignal;
  /** Says that the answer will be no result: it is sent, not stored, and the key is free for a retry. */
  doNotStore(): void;
}

/** An execution as long as its heartbeat. */
export class LeasedExecution implements Execution {
  readonly token: string;
  readonly #heartbeat: Heartbeat;
  #isResult = true;

  constructor({ token }: Lease, heartbeat: Heartbeat) {
    this.token = token;
    this.#heartbeat = heartbeat;
  }

  get held(): boolean {
    return this.#heartbeat.held;
  }

  get signal(): AbortSignal {
    return this.#heartbeat.signal;
  }

  get isResult(): boolean {
    return this.#isResult;
  }

  doNotStore(): void {
    this.#isResult = false;
  }
}
