/** What went wrong at Redis, in words for an operator, and with no key, body or credential in them. */
import type { Cluster, Redis } from "ioredis";
import { StoreUnavailableError } from "../../src/errors.js";
import { connectionFailure, messageOf, noteFailure } from "./connection.js";

/** What an operator should do about replies that say what is wrong, by how they begin. */
const ADVICE: readonly (readonly [RegExp, string])[] = [
  [/^ERR syntax error/, "This needs Redis 7.0 or newer, or Valkey (SET with NX and GET)."],
  [/^ERR unknown command/, "This needs Redis 7.0 or newer, or Valkey, with all commands enabled."],
  [/^WRONGTYPE/, "Another program writes to the store's keys: give the store a prefix of its own."],
  [/^OOM/, "Redis is full: raise maxmemory, with maxmemory-policy noeviction."],
  [/^MISCONF/, "Redis cannot write to its disk: see its log."],
  [/^READONLY/, "This is a replica: connect to the master, by Sentinel or Cluster where it moves."],
  [/^MOVED/, "This is a node of a Redis Cluster: connect with a Cluster client."],
  [/^(NOAUTH|WRONGPASS|NOPERM)/, "Check the user, the password and the ACL of the client."],
  [
    /^(CLUSTERDOWN|TRYAGAIN|ASK|LOADING|MASTERDOWN|NOREPLICAS|BUSY)/,
    "It recovers by itself when the servers do.",
  ],
  [
    /^(Command timed out|Socket timeout)/,
    "The server hangs, or is slower than commandTimeout and socketTimeout of the client: see its load and SLOWLOG, and the network.",
  ],
  [
    /^(All sentinels are unreachable|Failed to refresh slots cache)|\b(ECONNREFUSED|ETIMEDOUT|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|ENETUNREACH)\b/,
    "Check that the server runs, its address, and the network to it.",
  ],
];

/**
 * ioredis hangs the whole command on its errors, body, key and password and all, so they are not passed on: only name
 * and message are.
 */
export function storeError(error: unknown, client: Redis | Cluster): StoreUnavailableError {
  if (error instanceof StoreUnavailableError) return error;
  const { name = "Error" } = error as Partial<Error>;
  const message = messageOf(error);
  const cause = Object.assign(new Error(message), { name });
  if (message.startsWith("READONLY") && leavesReplicas(client)) noteFailure(client, message);
  // Where Redis replied, the connection is not what failed.
  const failure = name === "ReplyError" ? undefined : connectionFailure(client);
  const why = failure === undefined || failure === message ? "" : ` (${failure})`;
  const advice = ADVICE.find(([pattern]) => pattern.test(failure ?? message))?.[1] ?? "";
  const text = `Redis failed: ${message}${why}. ${advice}`.trimEnd();
  return new StoreUnavailableError(text, { cause });
}

/** Clients of `connectRedis` disconnect from a replica at once, to look for its master. */
function leavesReplicas(client: Redis | Cluster): boolean {
  return !("nodes" in client) && typeof client.options.reconnectOnError === "function";
}

/** Whether Redis answered with this error code, the first word of the reply. */
export function isReply(error: unknown, code: string): boolean {
  const { cause } = error as { readonly cause?: Error };
  return cause?.message.startsWith(`${code} `) === true;
}
