/**
 * Connections that can neither hang a request nor send a command twice. ioredis alone does both by default: it
 * queues commands while a server is down, waits for ever on one that hangs, and resends what was cut off.
 */
import { Cluster, Redis, type ClusterOptions, type RedisOptions } from "ioredis";
import { StoreUnavailableError } from "../../src/errors.js";
import { connectionFailure, watchConnection } from "./connection.js";
import { parseTarget, type RedisTarget } from "./url.js";

export { checkClient } from "./check.js";

/** Options of ioredis for every connection, over the strict ones; `cluster` for what is the Cluster's own. */
export type ConnectOverrides = NodeOverrides & { readonly cluster?: ClusterOverrides };
type NodeOverrides = Omit<RedisOptions, "replyMapping">;
type ClusterOverrides = Omit<ClusterOptions, "redisOptions">;

/**
 * Half of the protocol's `storeTimeoutMs`, so that it hears the reason; more than twice the round trip between the
 * most distant regions.
 */
const COMMAND_TIMEOUT_MS = 500;

/**
 * Turns a hung server into a down one: `commandTimeout` alone leaves the connection open, and every command to it pays
 * again. As long as that, for a shorter one would cut commands that may still be answered.
 */
const SOCKET_TIMEOUT_MS = COMMAND_TIMEOUT_MS;

/** A lost SYN is sent again after one second. No request waits for this: commands fail while it lasts. */
const CONNECT_TIMEOUT_MS = 2_000;

/** A restarted process is back in tens of milliseconds; a returned machine is found within a second. */
const FIRST_RETRY_MS = 50;
const LONGEST_RETRY_MS = 1_000;

/** Load balancers drop connections that were silent for minutes (350 s on AWS) without telling. */
const KEEP_ALIVE_MS = 30_000;

/** MOVED, ASK, TRYAGAIN and CLUSTERDOWN come before execution, so following them is safe; more than three is a loop. */
const MAX_REDIRECTIONS = 3;

/** One hung node must not hold up the search for the others. */
const SLOTS_REFRESH_TIMEOUT_MS = 1_000;

/** Enough for a TLS handshake with a distant region after one lost packet. */
const READY_TIMEOUT_MS = 5_000;

/**
 * Connects to Redis with options under which every command ends in time and is sent once.
 *
 * - `redis://[[user]:password@]host[:port][/db]`, `rediss://` over TLS
 * - `redis+sentinel://host:port,host:port/masterName[/db]`
 * - `redis+cluster://host:port,host:port`, or a list of URLs: seeds of one Redis Cluster
 *
 * `rediss+sentinel:` and `rediss+cluster:` use TLS throughout. User and password are the servers'; those of sentinels
 * are overrides (`sentinelUsername`, `sentinelPassword`). The client connects at once and reconnects for ever;
 * await `ready(client)` before the first request, because commands fail while the connection is down. Close it with
 * `client.disconnect()`: `quit()` waits for nodes that hang.
 *
 * ioredis measures its limits by timers, which run before it reads what came during a pause of the process: a pause
 * longer than 500 ms can fail the commands in flight although their replies are there. Such requests get 503, and
 * their retries find what is stored. A service that pauses for longer overrides `commandTimeout` and `socketTimeout`.
 *
 * @throws {OptionsError} for a URL that cannot work; it repeats nothing of the URL.
 * @example
 * ```ts
 * const client = connectRedis("rediss://app:secret@redis.example:6380/2");
 * await ready(client);
 * ```
 */
export function connectRedis(
  url: string | readonly string[],
  overrides: ConnectOverrides = {},
): Redis | Cluster {
  const target = parseTarget(url);
  const { cluster, ...nodes } = overrides;
  const client =
    target.topology === "cluster" ? newCluster(target, nodes, cluster) : newRedis(target, nodes);
  watchConnection(client);
  return client;
}

/**
 * Resolves when the client takes commands, at once if it does already; a Cluster's when its masters are connected as
 * well, except those that are down.
 *
 * @throws {StoreUnavailableError} after `timeoutMs`, with the last connection error in its message.
 */
export async function ready(client: Redis | Cluster, timeoutMs = READY_TIMEOUT_MS): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  await untilReady(client, timeoutMs);
  if (!("nodes" in client)) return;
  const leftMs = Math.max(0, deadline - performance.now());
  await Promise.allSettled(client.nodes("master").map((node) => untilReady(node, leftMs)));
}

function strict({ tls, username, password }: RedisTarget, overrides: NodeOverrides) {
  return {
    ...(username === undefined ? {} : { username }),
    ...(password === undefined ? {} : { password }),
    ...(tls ? { tls: {} } : {}),
    // Nothing waits for a server to come back: a request that waits is answered twice, by 503 and by its execution.
    enableOfflineQueue: false,
    maxRetriesPerRequest: 0,
    // By default a command whose reply was lost is executed again on the next connection.
    autoResendUnfulfilledCommands: false,
    commandTimeout: COMMAND_TIMEOUT_MS,
    socketTimeout: SOCKET_TIMEOUT_MS,
    connectTimeout: CONNECT_TIMEOUT_MS,
    // How long a hung server may keep a closed connection.
    disconnectTimeout: SOCKET_TIMEOUT_MS,
    // A server that loads its data is asked again this often, not after the ten seconds that it may guess.
    maxLoadingRetryTime: LONGEST_RETRY_MS,
    keepAlive: KEEP_ALIVE_MS,
    retryStrategy: backoffMs,
    // A demoted master stays connected and refuses every write: look for its successor. Do not resend (2).
    reconnectOnError: (error: Error) => error.message.startsWith("READONLY"),
    ...overrides,
  };
}

function newRedis(target: RedisTarget, overrides: NodeOverrides): Redis {
  const { topology, hosts, db, masterName = "" } = target;
  const options = { db, ...strict(target, overrides) };
  if (topology === "single") return new Redis({ ...hosts[0], ...options });
  return new Redis({
    sentinels: [...hosts],
    name: masterName,
    // Default: none, and a hung sentinel ends the search for the master.
    sentinelCommandTimeout: COMMAND_TIMEOUT_MS,
    sentinelRetryStrategy: backoffMs,
    // Leaves an old master as soon as the sentinels have a new one. It takes writes, which are lost, until it is demoted:
    // ten seconds after a failover by hand, with Redis 7.0.
    failoverDetector: true,
    ...(target.tls ? { enableTLSForSentinelMode: true, sentinelTLS: overrides.tls ?? {} } : {}),
    ...options,
  });
}

function newCluster(
  target: RedisTarget,
  overrides: NodeOverrides,
  clusterOverrides: ClusterOverrides = {},
): Cluster {
  const { retryStrategy: _, enableOfflineQueue, ...redisOptions } = strict(target, overrides);
  const cluster = new Cluster([...target.hosts], {
    enableOfflineQueue,
    scaleReads: "master",
    // By default what was cut off is sent again after 100 ms, whatever the nodes' own settings.
    retryDelayOnFailover: 0,
    maxRedirections: MAX_REDIRECTIONS,
    slotsRefreshTimeout: SLOTS_REFRESH_TIMEOUT_MS,
    clusterRetryStrategy: backoffMs,
    // Certificates are made out to names: the addresses behind them would not match.
    ...(target.tls ? { dnsLookup: (host: string, done: DnsDone) => done(null, host) } : {}),
    ...clusterOverrides,
    redisOptions,
  });
  connectNodes(cluster);
  return cluster;
}

type DnsDone = (error: null, address: string) => void;

/**
 * ioredis connects to a node at its first command, and refuses all others until that is done: a burst of requests right
 * after the start or a failover would fail. So every node is connected when it becomes known.
 */
function connectNodes(cluster: Cluster): void {
  cluster.on("ready", () => {
    for (const node of cluster.nodes()) connectNode(node);
  });
  cluster.on("+node", (node: Redis) => {
    // Later, because a command may be about to do the same; and not before the Cluster has asked a node about itself.
    setImmediate(() => {
      if (cluster.status === "ready") connectNode(node);
    });
  });
}

function connectNode(node: Redis): void {
  if (node.status === "wait") node.connect().catch(() => undefined);
}

/** Exponential, and at random up to half as long: clients that lost one server shall not return all at once. */
function backoffMs(attempt: number): number {
  const delayMs = Math.min(FIRST_RETRY_MS * 2 ** (attempt - 1), LONGEST_RETRY_MS);
  return delayMs * (1 - Math.random() / 2);
}

function untilReady(client: Redis | Cluster, timeoutMs: number): Promise<void> {
  if (client.status === "ready") return Promise.resolve();
  watchConnection(client);
  if (client.status === "wait") client.connect().catch(() => undefined);
  return new Promise((resolve, reject) => {
    const fail = (what: string): void => {
      forget();
      const failure = connectionFailure(client);
      const why = failure === undefined ? "" : `; its last error: ${failure}`;
      reject(new StoreUnavailableError(`The connection to Redis ${what}${why}`));
    };
    const end = (): void => fail("was closed");
    const done = (): void => {
      forget();
      resolve();
    };
    // The attempts to connect keep a process alive that waits for them. A client that is closed between two of them tells
    // nobody, and this shall not keep its process.
    const timer = setTimeout(fail, timeoutMs, `was not ready within ${timeoutMs} ms`).unref();
    const forget = (): void => {
      clearTimeout(timer);
      client.off("ready", done).off("end", end);
    };
    client.once("ready", done).once("end", end);
    if (client.status === "end") end();
  });
}
