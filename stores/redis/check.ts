/** What in a user's own ioredis client could hang a request, lose a command, or execute it twice or too late. */
import type { Cluster, ClusterOptions, Redis, RedisOptions } from "ioredis";

interface Rule<Options> {
  readonly isBroken: (options: Options) => boolean;
  /** One sentence: what can happen, and what to set. */
  readonly says: string;
}

/** A refresh of a Cluster's slots that takes longer than this stops recovery. */
const LONGEST_SLOTS_REFRESH_MS = 5_000;

const EVERY_NODE: readonly Rule<RedisOptions>[] = [
  {
    isBroken: ({ commandTimeout }) => !isPositive(commandTimeout),
    says: "Without commandTimeout a request waits for ever on a server that hangs: set it, for example to 500 (ms).",
  },
  {
    isBroken: ({ socketTimeout }) => !isPositive(socketTimeout),
    says: "Without socketTimeout a connection to a server that hangs stays in use, and every command to it runs into its time-out: set it, for example to 500 (ms).",
  },
  {
    isBroken: ({ connectTimeout }) => !isPositive(connectTimeout),
    says: "Without connectTimeout a server that does not answer is never given up: set it, for example to 2000 (ms).",
  },
];

/** A Cluster sets the queue for itself and lets no node reconnect, unless told to. */
const RECONNECTING: readonly Rule<RedisOptions>[] = [
  {
    isBroken: ({ maxRetriesPerRequest }) => maxRetriesPerRequest !== 0,
    says: "Unless maxRetriesPerRequest is 0, a command in flight when the connection breaks stays pending over several attempts to reconnect: set it to 0.",
  },
  {
    isBroken: ({ autoResendUnfulfilledCommands }) => autoResendUnfulfilledCommands !== false,
    says: "With autoResendUnfulfilledCommands a command whose reply was lost is executed again: set it to false.",
  },
];

const OFFLINE_QUEUE: Rule<{ readonly enableOfflineQueue?: boolean | undefined }> = {
  isBroken: ({ enableOfflineQueue }) => enableOfflineQueue !== false,
  says: "With enableOfflineQueue commands wait for a server that is down, and are executed after their request has failed: set it to false.",
};

const SINGLE: readonly Rule<RedisOptions>[] = [
  OFFLINE_QUEUE,
  ...RECONNECTING,
  {
    isBroken: ({ retryStrategy }) => typeof retryStrategy !== "function",
    says: "Without retryStrategy the client is unusable after its first lost connection: set a function, or leave the default.",
  },
  {
    isBroken: ({ sentinels, sentinelCommandTimeout }) =>
      Boolean(sentinels) && !isPositive(sentinelCommandTimeout),
    says: "Without sentinelCommandTimeout a sentinel that hangs ends the search for the master: set it, for example to 500 (ms).",
  },
  {
    isBroken: ({ sentinels, failoverDetector }) => Boolean(sentinels) && failoverDetector !== true,
    says: "Without failoverDetector the client goes on writing to a replaced master for some ten seconds, and those writes are lost: set it to true.",
  },
];

const CLUSTER: readonly Rule<ClusterOptions>[] = [
  OFFLINE_QUEUE,
  {
    isBroken: ({ retryDelayOnFailover }) => retryDelayOnFailover !== 0,
    says: "With retryDelayOnFailover a command whose reply was lost is executed again: set it to 0.",
  },
  {
    isBroken: resendsAfterTimeout,
    says: "maxRedirections times the longest retryDelayOn… exceeds commandTimeout, so that a command can be sent after its request has failed: set maxRedirections to 3.",
  },
  {
    isBroken: ({ scaleReads }) => scaleReads !== "master",
    says: "With scaleReads reads go to replicas, which may not have a record yet: set it to 'master'.",
  },
  {
    isBroken: ({ slotsRefreshTimeout }) =>
      !isPositive(slotsRefreshTimeout) || slotsRefreshTimeout > LONGEST_SLOTS_REFRESH_MS,
    says: "With so long a slotsRefreshTimeout one hung node stops the search for the new master: set it to 1000 (ms).",
  },
  {
    isBroken: ({ clusterRetryStrategy }) => typeof clusterRetryStrategy !== "function",
    says: "Without clusterRetryStrategy the client is unusable once all nodes were lost: set a function, or leave the default.",
  },
];

/**
 * Names every setting of an ioredis client that can hang a request, lose a command, or execute it twice or after its
 * request has failed; empty for clients of `connectRedis`.
 */
export function checkClient(client: Redis | Cluster): string[] {
  if (!("nodes" in client)) return broken([...SINGLE, ...EVERY_NODE], client.options);
  const { options } = client;
  const node = nodeOptions(options);
  const reconnects = typeof options.clusterNodeRetryStrategy === "function";
  return [
    ...broken(CLUSTER, options),
    ...broken(reconnects ? [...RECONNECTING, ...EVERY_NODE] : EVERY_NODE, node),
  ];
}

function broken<Options>(rules: readonly Rule<Options>[], options: Options): string[] {
  return rules.filter(({ isBroken }) => isBroken(options)).map(({ says }) => says);
}

/** Of the settings looked at here, only this one has a default that is good enough. */
function nodeOptions({ redisOptions }: ClusterOptions): RedisOptions {
  return { connectTimeout: 10_000, ...redisOptions };
}

function resendsAfterTimeout(options: ClusterOptions): boolean {
  const { maxRedirections = 0, retryDelayOnClusterDown = 0, retryDelayOnTryAgain = 0 } = options;
  const delayMs = Math.max(
    retryDelayOnClusterDown,
    retryDelayOnTryAgain,
    options.retryDelayOnMoved ?? 0,
  );
  return maxRedirections * delayMs > (options.redisOptions?.commandTimeout ?? Infinity);
}

function isPositive(value: number | undefined): value is number {
  return value !== undefined && value > 0;
}
