/** Requests to DynamoDB that end in time: each attempt is limited, repeated where that may help, and all within a deadline. */
import { setTimeout as delay } from "node:timers/promises";
import { StoreUnavailableError } from "../../src/errors.js";
import {
  givenSender,
  ownSender,
  type Command,
  type DynamodbClient,
  type Sender,
} from "./client.js";
import { ServerClock } from "./clock.js";
import { isRetryable, type SdkError } from "./errors.js";

export interface ClientOptions {
  readonly client: DynamodbClient | undefined;
  readonly region: string | undefined;
  readonly endpoint: string | undefined;
  readonly timeoutMs: number;
  readonly requestTimeoutMs: number;
}

/** By when all requests of one verb must have been answered, in milliseconds of `performance.now()`. */
export type Deadline = number;

/** Full jitter over a delay that doubles: the first retry comes almost at once, a throttled crowd spreads out. */
const FIRST_BACKOFF_MS = 25;
const LONGEST_BACKOFF_MS = 400;

export class Calls {
  readonly clock = new ServerClock();
  readonly #options: ClientOptions;
  #sender: Sender | undefined;
  #closed = false;

  constructor(options: ClientOptions) {
    this.#options = options;
  }

  deadline(): Deadline {
    return performance.now() + this.#options.timeoutMs;
  }

  /**
   * Sends a request until it is answered for good. Only what may be executed twice: every write of the store is
   * conditional on a token, or writes what is there already.
   *
   * @param bulky Whether it carries megabytes: then only the deadline limits an attempt.
   */
  async send<Input, Output>(
    Request: new (input: Input) => Command<Output>,
    input: NoInfer<Input>,
    deadline: Deadline,
    bulky = false,
  ): Promise<Output> {
    let reason: unknown;
    for (let attempt = 1; ; attempt += 1) {
      const leftMs = deadline - performance.now();
      const limitMs = bulky ? leftMs : Math.min(leftMs, this.#options.requestTimeoutMs);
      // An earlier request of the same verb may have used up all the time.
      if (limitMs <= 0) throw outOfTime(this.#options.timeoutMs);
      try {
        return await this.#attempt(new Request(input), limitMs, bulky);
      } catch (error) {
        // Of an attempt that was cut short by the deadline no reply says nothing: what failed before does.
        if (reason === undefined || limitMs < leftMs || !(error instanceof OutOfTime))
          reason = error;
        if (!isRetryable(error as SdkError) || !(await backOff(attempt, deadline))) throw reason;
      }
    }
  }

  close(): void {
    this.#closed = true;
    this.#sender?.close();
  }

  async #attempt<Output>(
    command: Command<Output>,
    limitMs: number,
    bulky: boolean,
  ): Promise<Output> {
    const { reply, abandon } = this.#open().send(command, bulky);
    let timer: NodeJS.Timeout | undefined;
    // The client's limits end requests that are on their way, and not the wait for credentials to sign them with.
    const expired = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        abandon();
        reject(outOfTime(limitMs));
      }, limitMs);
    });
    try {
      const output = await Promise.race([reply, expired]);
      // Where the date of replies cannot be seen, there is only this process's own.
      if (!this.clock.known) this.clock.trustOwn();
      return output as Output;
    } finally {
      clearTimeout(timer);
    }
  }

  #open(): Sender {
    if (this.#closed) throw new StoreUnavailableError("The DynamoDB store is closed.");
    const { client } = this.#options;
    this.#sender ??=
      client === undefined ? ownSender(this.#options, this.clock) : givenSender(client, this.clock);
    return this.#sender;
  }
}

/** Waits before the next attempt; `false` where there is no time for one. */
export async function backOff(attempt: number, deadline: Deadline): Promise<boolean> {
  const longestMs = Math.min(FIRST_BACKOFF_MS * 2 ** attempt, LONGEST_BACKOFF_MS);
  const backoffMs = longestMs * Math.random();
  if (performance.now() + backoffMs >= deadline) return false;
  await delay(backoffMs);
  // Timers are late on a busy machine.
  return performance.now() < deadline;
}

class OutOfTime extends Error {
  override readonly name = "TimeoutError";
}

function outOfTime(limitMs: number): OutOfTime {
  return new OutOfTime(`no reply within ${Math.round(limitMs)} ms`);
}
