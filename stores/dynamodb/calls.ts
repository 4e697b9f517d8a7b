/** Requests to DynamoDB that end in time: each attempt is limited, repeated where that may help, and all within a deadline. */
import { setTimeout as delay } from "node:timers/promises";
import { DynamoDBClient, type DynamoDBClientResolvedConfig } from "@aws-sdk/client-dynamodb";
import { StoreUnavailableError } from "../../src/errors.js";
import { ServerClock } from "./clock.js";
import { isRetryable, type SdkError } from "./errors.js";

/**
 * A `DynamoDBClient` or a `DynamoDBDocumentClient`: the commands of the former work through both, and show items as
 * DynamoDB has them.
 */
export interface DynamodbClient {
  send(command: never, options?: { readonly abortSignal?: AbortSignal }): Promise<unknown>;
}

export interface ClientOptions {
  readonly client: DynamodbClient | undefined;
  readonly region: string | undefined;
  readonly endpoint: string | undefined;
  readonly timeoutMs: number;
  readonly requestTimeoutMs: number;
}

/** A command of the SDK, as far as it is used here; `resolveMiddleware` is where its types tell what it answers. */
export interface Command<Output> {
  readonly middlewareStack: { add(middleware: never, place: never): void };
  resolveMiddleware(
    stack: never,
    configuration: DynamoDBClientResolvedConfig,
    options: never,
  ): (args: never) => Promise<{ readonly output: Output }>;
}

/** By when all requests of one verb must have been answered, in milliseconds of `performance.now()`. */
export type Deadline = number;

/** Full jitter over a delay that doubles: the first retry comes almost at once, a throttled crowd spreads out. */
const FIRST_BACKOFF_MS = 25;
const LONGEST_BACKOFF_MS = 400;

export class Calls {
  readonly clock = new ServerClock();
  readonly #options: ClientOptions;
  #own: DynamoDBClient | undefined;
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
        return await this.#attempt(new Request(input), limitMs);
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
    this.#own?.destroy();
  }

  async #attempt<Output>(command: Command<Output>, limitMs: number): Promise<Output> {
    const client = this.#client();
    this.#listenTo(command);
    // Not `AbortSignal.timeout`, which cannot be called off: each would live on for its whole time.
    const abort = new AbortController();
    let timer: NodeJS.Timeout | undefined;
    const expired = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        abort.abort();
        reject(outOfTime(limitMs));
      }, limitMs);
    });
    try {
      // The signal alone ends requests that are on their way, and not the wait for credentials to sign them with.
      const sent = client.send(command as never, { abortSignal: abort.signal });
      const output = await Promise.race([sent, expired]);
      // Where the date of replies cannot be seen, there is only this process's own.
      if (!this.clock.known) this.clock.trustOwn();
      return output as Output;
    } finally {
      clearTimeout(timer);
    }
  }

  /** Next to the wire, where the head of every reply comes by, those of failures too. */
  #listenTo(command: Command<unknown>): void {
    const listen = (next: (args: unknown) => Promise<unknown>) => async (args: unknown) => {
      const sentAt = Date.now();
      const result = await next(args);
      const { response } = result as { response?: { headers?: Record<string, string> } };
      this.clock.hear(response?.headers?.["date"], sentAt);
      return result;
    };
    const place = { step: "deserialize", priority: "low", name: "idempotencyKitClock" };
    command.middlewareStack.add(listen as never, place as never);
  }

  #client(): DynamodbClient {
    if (this.#closed) throw new StoreUnavailableError("The DynamoDB store is closed.");
    return this.#options.client ?? (this.#own ??= ownClient(this.#options));
  }
}

/** A client with limits, for when none is given. Repeating is left to `Calls`, which know the deadline. */
function ownClient(options: Omit<ClientOptions, "client">): DynamoDBClient {
  const { region, endpoint, timeoutMs, requestTimeoutMs } = options;
  return new DynamoDBClient({
    ...(region === undefined ? {} : { region }),
    ...(endpoint === undefined ? {} : { endpoint }),
    maxAttempts: 1,
    requestHandler: {
      connectionTimeout: requestTimeoutMs,
      requestTimeout: timeoutMs,
      // Without this the SDK would only warn.
      throwOnRequestTimeout: true,
    },
  });
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
