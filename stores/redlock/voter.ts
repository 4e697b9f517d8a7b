/** One node of a quorum: its verbs within a deadline, and at once a failure while it is known to be down. */
import { StoreUnavailableError } from "../../src/errors.js";
import type { RedisEndpoint } from "../redis/endpoint.js";

export interface VoterOptions {
  /** For errors: which node it is. Never with credentials. */
  readonly name: string;
  readonly nodeTimeoutMs: number;
}

/** A node that timed out is looked for after this time, then after twice as long, and so on. */
const FIRST_PAUSE_MS = 200;
/** A ping a second costs nothing, and a node that returned is wanted back soon. */
const LONGEST_PAUSE_MS = 1_000;

class TimedOut extends Error {}
/** What ioredis says where its own `commandTimeout` is shorter than ours. */
const DRIVER_TIMED_OUT = "Command timed out";

/** A time-out opens the breaker; a ping in the background closes it, so that no request pays twice for a hung node. */
export class Voter {
  readonly name: string;
  readonly #endpoint: RedisEndpoint;
  readonly #timeoutMs: number;
  #isDown = false;
  #pauseMs = FIRST_PAUSE_MS;
  /** On the `performance.now()` clock. */
  #nextProbeAt = 0;

  constructor(endpoint: RedisEndpoint, { name, nodeTimeoutMs }: VoterOptions) {
    this.name = name;
    this.#endpoint = endpoint;
    this.#timeoutMs = nodeTimeoutMs;
  }

  /**
   * @param onLate Gets an answer that came after the deadline, and the node itself: its breaker is open by then.
   * @throws {StoreUnavailableError} naming the node.
   */
  async ask<T>(
    call: (endpoint: RedisEndpoint) => Promise<T>,
    onLate?: (answer: T, endpoint: RedisEndpoint) => void,
  ): Promise<T> {
    if (this.#isDown) {
      void this.#probe();
      throw this.#failure("is known to be down");
    }
    try {
      return await this.#within(call(this.#endpoint), onLate);
    } catch (error) {
      if (isTimeout(error)) this.#open();
      throw this.#failure("failed", error);
    }
  }

  #within<T>(
    answer: Promise<T>,
    onLate?: (answer: T, endpoint: RedisEndpoint) => void,
  ): Promise<T> {
    return new Promise((resolve, reject) => {
      let state: "open" | "settled" | "late" = "open";
      const giveUp = (): void => {
        if (state === "settled") return;
        state = "late";
        reject(new TimedOut(`no answer within ${this.#timeoutMs} ms`));
      };
      // After a pause of this process its timers run before it reads what has long been answered: it looks once more.
      const timer = setTimeout(() => setImmediate(giveUp), this.#timeoutMs);
      answer.then(
        (value) => {
          clearTimeout(timer);
          if (state === "late") onLate?.(value, this.#endpoint);
          else resolve(value);
          state = "settled";
        },
        (error: Error) => {
          clearTimeout(timer);
          if (state === "open") state = "settled";
          reject(error);
        },
      );
    });
  }

  /** Once, however many calls were under way and time out together. */
  #open(): void {
    if (this.#isDown) return;
    this.#isDown = true;
    this.#pauseMs = FIRST_PAUSE_MS;
    this.#nextProbeAt = performance.now() + FIRST_PAUSE_MS;
  }

  async #probe(): Promise<void> {
    if (performance.now() < this.#nextProbeAt) return;
    // One at a time.
    this.#nextProbeAt = Number.POSITIVE_INFINITY;
    this.#pauseMs = Math.min(this.#pauseMs * 2, LONGEST_PAUSE_MS);
    try {
      await this.#within(this.#endpoint.ping());
      this.#isDown = false;
    } catch {
      this.#nextProbeAt = performance.now() + this.#pauseMs;
    }
  }

  #failure(what: string, cause?: unknown): StoreUnavailableError {
    const why = cause instanceof Error ? `: ${cause.message}` : "";
    return new StoreUnavailableError(`Redis node ${this.name} ${what}${why}`, { cause });
  }
}

function isTimeout(error: unknown): boolean {
  const { cause } = error as { cause?: Error };
  return error instanceof TimedOut || cause?.message === DRIVER_TIMED_OUT;
}
