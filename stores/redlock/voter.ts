/** One node of a quorum: its verbs within a deadline, and at once a failure while it is known to be down. */
import { StoreUnavailableError } from "../../src/errors.js";
import type { RedisEndpoint } from "../redis/endpoint.js";
import type { Marker } from "../redis/marker.js";
import type { Down } from "./decisions.js";

export interface VoterOptions {
  /** For errors: which node it is. Never with credentials. */
  readonly name: string;
  readonly nodeTimeoutMs: number;
  /** How long it abstains once it has lost its data. */
  readonly quarantineMs: number;
}

/** A node that timed out is looked for after this time, then after twice as long, and so on. */
const FIRST_PAUSE_MS = 200;
/** A ping a second costs nothing, and a node that returned is wanted back soon. */
const LONGEST_PAUSE_MS = 1_000;

class TimedOut extends Error {}
class Abstention extends Error {}
/** What ioredis says where its own `commandTimeout` is shorter than ours. */
const DRIVER_TIMED_OUT = "Command timed out";

/** A time-out opens the breaker; a ping in the background closes it, so that no request pays twice for a hung node. */
export class Voter {
  readonly name: string;
  readonly #endpoint: RedisEndpoint;
  readonly #marker: Marker;
  readonly #timeoutMs: number;
  readonly #quarantineMs: number;
  #isDown = false;
  #pauseMs = FIRST_PAUSE_MS;
  /** On the `performance.now()` clock. */
  #nextProbeAt = 0;
  /** The look that is being waited for, or the last one that was. */
  #awaited: Promise<void> | undefined;

  constructor(endpoint: RedisEndpoint, marker: Marker, options: VoterOptions) {
    this.name = options.name;
    this.#endpoint = endpoint;
    this.#marker = marker;
    this.#timeoutMs = options.nodeTimeoutMs;
    this.#quarantineMs = options.quarantineMs;
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
      await this.#probe();
      if (this.#isDown) throw this.#failure("is known to be down");
    }
    try {
      return await this.#within(this.#vote(call), onLate);
    } catch (error) {
      if (isTimeout(error)) this.#open();
      throw this.#failure("failed", error);
    }
  }

  /** Of a node that still has its data: one that forgot what it answered could answer otherwise. */
  async #vote<T>(call: (endpoint: RedisEndpoint) => Promise<T>): Promise<T> {
    const marker = this.#marker;
    if (!marker.isSeen) await marker.look();
    this.#refuseWhileForgetful();
    const answer = await call(this.#endpoint);
    // A driver that sends commands again may have sent this one to a server that had restarted empty.
    if (!marker.isSeen) await marker.look();
    this.#refuseWhileForgetful();
    return answer;
  }

  #refuseWhileForgetful(): void {
    const leftMs = this.#marker.lostAt + this.#quarantineMs - performance.now();
    if (leftMs <= 0) return;
    const until = new Date(Date.now() + leftMs).toISOString();
    throw new Abstention(`it has lost its data and abstains until ${until}`);
  }

  #within<T>(
    answer: Promise<T>,
    onLate?: (answer: T, endpoint: RedisEndpoint) => void,
  ): Promise<T> {
    return new Promise((resolve, reject) => {
      let isLate = false;
      const giveUp = (): void => {
        isLate = true;
        reject(new TimedOut(`no answer within ${this.#timeoutMs} ms`));
      };
      const endsAt = performance.now() + this.#timeoutMs;
      // After a pause of this process its timers run before it reads what has long been answered, or even sends what it had
      // held back: the node gets that time once more.
      let timer = setTimeout(() => {
        const pausedMs = Math.min(performance.now() - endsAt, this.#timeoutMs);
        timer = setTimeout(giveUp, pausedMs);
      }, this.#timeoutMs);
      answer.then(
        (value) => {
          clearTimeout(timer);
          if (isLate) onLate?.(value, this.#endpoint);
          else resolve(value);
        },
        (error: Error) => {
          clearTimeout(timer);
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

  /**
   * Looks whether the node is back, if it is time to. Nobody waits for that, but who comes when nobody has looked for long:
   * the node may have been back for hours, and with it the majority.
   */
  #probe(): Promise<void> | undefined {
    const lateMs = performance.now() - this.#nextProbeAt;
    if (lateMs >= 0) {
      // One at a time.
      this.#nextProbeAt = Number.POSITIVE_INFINITY;
      const probe = this.#ping();
      this.#awaited = lateMs > LONGEST_PAUSE_MS ? probe : undefined;
    }
    return this.#awaited;
  }

  async #ping(): Promise<void> {
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

/** How a node votes that was asked in vain. */
export function downBy(error: Error): Down {
  return { kind: "down", error, abstains: error.cause instanceof Abstention };
}

function isTimeout(error: unknown): boolean {
  const { cause } = error as { cause?: Error };
  return error instanceof TimedOut || cause?.message === DRIVER_TIMED_OUT;
}
