/** What a handler knows of the execution that it is, and may say of it. */
import type { Heartbeat } from "./heartbeat.js";
import type { Outcome } from "./outcome.js";
import type { Lease, RecordedResponse } from "../store.js";

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

/** Stores a result with writes of the handler's own; rejects where those are refused, and then nothing is decided. */
export type Commit = (
  execution: LeasedExecution,
  writes: readonly unknown[],
  recorded: RecordedResponse,
) => Promise<Outcome>;

/** An execution as long as its heartbeat. */
export class LeasedExecution implements Execution {
  readonly lease: Lease;
  readonly heartbeat: Heartbeat;
  /** Told once a commit has decided what the request is answered, whatever the handler does after that. */
  onCommitted: ((recorded: RecordedResponse) => void) | undefined;
  readonly #commit: Commit;
  #commitment: Promise<Outcome> | undefined;
  #isResult = true;

  constructor(lease: Lease, heartbeat: Heartbeat, commit: Commit) {
    this.lease = lease;
    this.heartbeat = heartbeat;
    this.#commit = commit;
  }

  get token(): string {
    return this.lease.token;
  }

  get held(): boolean {
    return this.heartbeat.held;
  }

  get signal(): AbortSignal {
    return this.heartbeat.signal;
  }

  get isResult(): boolean {
    return this.#isResult;
  }

  doNotStore(): void {
    this.#isResult = false;
  }

  /**
   * Stores the result together with writes of the handler's own, all or nothing, and has it answered.
   *
   * @returns Whether it was stored. `false`: the lease was lost, or whether it was stored is not known; the client is
   * answered accordingly.
   * @throws {CommitRefusedError} where the writes were refused: nothing is written, and the handler goes on.
   */
  async commitWith(writes: readonly unknown[], recorded: RecordedResponse): Promise<boolean> {
    if (this.#commitment !== undefined) {
      throw new Error("commitWith was called already: a request has one result.");
    }
    const commitment = this.#commit(this, writes, recorded);
    this.#commitment = commitment;
    try {
      const outcome = await commitment;
      this.onCommitted?.(recorded);
      return outcome.kind === "executed";
    } catch (error) {
      this.#commitment = undefined;
      throw error;
    }
  }

  /** What a commit on its way decides, if one is; it decides nothing where its writes are refused. */
  get decision(): Promise<Outcome | undefined> | undefined {
    return this.#commitment?.catch(() => undefined);
  }
}
