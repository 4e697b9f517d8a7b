/** One request to DynamoDB, through a client of the store's own or through one that was given. */
import { DynamoDBClient, type DynamoDBClientResolvedConfig } from "@aws-sdk/client-dynamodb";
import type { ServerClock } from "./clock.js";

/**
 * A `DynamoDBClient` or a `DynamoDBDocumentClient`: the commands of the former work through both, and show items as
 * DynamoDB has them.
 */
export interface DynamodbClient {
  send(command: never, options?: { readonly abortSignal?: AbortSignal }): Promise<unknown>;
}

/** Of a command or a client: both take middleware. */
interface Stack {
  add(middleware: never, place: never): void;
}

/** A command of the SDK, as far as it is used here; `resolveMiddleware` is where its types tell what it answers. */
export interface Command<Output> {
  readonly middlewareStack: Stack;
  resolveMiddleware(
    stack: never,
    configuration: DynamoDBClientResolvedConfig,
    options: never,
  ): (args: never) => Promise<{ readonly output: Output }>;
}

/** A request on its way. */
export interface Sent {
  readonly reply: Promise<unknown>;
  /** Ends it: nobody waits for its reply any more. */
  readonly abandon: () => void;
}

export interface Sender {
  /** @param bulky Whether it carries megabytes, and may take longer than a request does. */
  send(command: Command<unknown>, bulky: boolean): Sent;
  close(): void;
}

export interface OwnClientOptions {
  readonly region: string | undefined;
  readonly endpoint: string | undefined;
  readonly timeoutMs: number;
  readonly requestTimeoutMs: number;
}

/**
 * Middleware that is added to a command, or options that are passed with it, make the SDK put its middleware together anew
 * for each request, which takes longer than all else that a request costs the store (docs/performance.md). So limits and
 * listener are the client's, what is bulky has a client with other limits, and both keep what they put together.
 */
export function ownSender(options: OwnClientOptions, clock: ServerClock): Sender {
  const usual = ownClient(options, clock, options.requestTimeoutMs);
  let patient: DynamoDBClient | undefined;
  return {
    send(command, bulky) {
      const client = bulky ? (patient ??= ownClient(options, clock, options.timeoutMs)) : usual;
      // Its own limit ends what was abandoned, soon enough.
      return { reply: client.send(command as never), abandon: () => {} };
    },
    close() {
      usual.destroy();
      patient?.destroy();
    },
  };
}

/** Repeating is left to `Calls`, which know the deadline. */
function ownClient(
  { region, endpoint, requestTimeoutMs }: OwnClientOptions,
  clock: ServerClock,
  requestTimeout: number,
): DynamoDBClient {
  const client = new DynamoDBClient({
    ...(region === undefined ? {} : { region }),
    ...(endpoint === undefined ? {} : { endpoint }),
    cacheMiddleware: true,
    maxAttempts: 1,
    requestHandler: {
      connectionTimeout: requestTimeoutMs,
      requestTimeout,
      // Without this the SDK would only warn.
      throwOnRequestTimeout: true,
    },
  });
  // The SDK's would go through each request and reply for a logger that there is not.
  const silent = { step: "initialize", name: "loggerMiddleware", override: true } as const;
  client.middlewareStack.add((next) => next, silent);
  listen(client.middlewareStack, clock);
  return client;
}

/** Leaves a client as it is: what the store needs goes with each command. */
export function givenSender(client: DynamodbClient, clock: ServerClock): Sender {
  return {
    send(command) {
      listen(command.middlewareStack, clock);
      // Not `AbortSignal.timeout`, which cannot be called off: each would live on for its whole time.
      const abort = new AbortController();
      const reply = client.send(command as never, { abortSignal: abort.signal });
      return { reply, abandon: () => abort.abort() };
    },
    close() {},
  };
}

/** Next to the wire, where the head of every reply comes by, those of failures too. */
function listen(stack: Stack, clock: ServerClock): void {
  const listener = (next: (args: unknown) => Promise<unknown>) => async (args: unknown) => {
    const sentAt = Date.now();
    const result = await next(args);
    const { response } = result as { response?: { headers?: Record<string, string> } };
    clock.hear(response?.headers?.["date"], sentAt);
    return result;
  };
  const place = { step: "deserialize", priority: "low", name: "idempotencyKitClock" };
  stack.add(listener as never, place as never);
}
