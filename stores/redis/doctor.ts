/** What a Redis server promises about the records that it keeps, read from the server itself. */
import type { Cluster, Redis } from "ioredis";
import { ready } from "./connect.js";

/** From the best to the worst, with `unknown` for what is not known to forget. */
const LEVELS = ["power-safe", "crash-safe", "failover-lossy", "unknown", "forgetful"] as const;

/**
 * What becomes of a record that was stored:
 * - `power-safe`: it outlives a power failure;
 * - `crash-safe`: it outlives the server process, but a power failure may take the last seconds;
 * - `failover-lossy`: a failover to a replica may take the last moments before it;
 * - `forgetful`: a restart or a full memory may take all;
 * - `unknown`: the server does not tell, as managed services often do not.
 */
export type RedisLevel = (typeof LEVELS)[number];

export interface RedisReport {
  readonly level: RedisLevel;
  /** Under which the store cannot work. */
  readonly errors: readonly string[];
  /** Under which it works but promises less, and what to set. */
  readonly warnings: readonly string[];
}

/** What one server says about itself; `undefined` where it refuses to. */
export interface RedisFacts {
  readonly name: string;
  readonly info: Readonly<Record<string, string>> | undefined;
  readonly config: Readonly<Record<string, string>> | undefined;
}

interface Finding {
  readonly applies: (info: RedisFacts["info"], config: RedisFacts["config"]) => boolean;
  /** The best that can be promised then; absent for what keeps the store from working. */
  readonly level?: RedisLevel;
  readonly says: string;
}

/** SET with NX and GET, which `lock` is, came with 7.0. */
const OLDEST_MAJOR = 7;

const FINDINGS: readonly Finding[] = [
  {
    applies: (info) => Number.parseInt(info?.["redis_version"] ?? "7", 10) < OLDEST_MAJOR,
    says: "Redis 7.0 or newer is needed, or Valkey (SET with NX and GET).",
  },
  {
    applies: (info) => info?.["role"] === "slave",
    says: "This is a replica and takes no writes: connect to its master, by Sentinel or Cluster where it moves.",
  },
  {
    applies: (info) => info?.["aof_last_write_status"] === "err",
    says: "The server could not write its append-only file and takes no writes: see to its disk.",
  },
  {
    applies: (info, config) => !["noeviction", undefined].includes(policyOf(info, config)),
    level: "forgetful",
    says: "maxmemory-policy evicts: a full server forgets records, and their retries are executed again. Set noeviction.",
  },
  {
    applies: (_, config) => config?.["appendonly"] === "no",
    level: "forgetful",
    says: "appendonly is off: a server that restarts forgets records, and their retries are executed again. Set appendonly yes.",
  },
  {
    applies: (_, config) => syncOf(config) === "everysec",
    level: "crash-safe",
    says: "appendfsync everysec: up to 2 s of writes are lost with the power. Set always where that matters.",
  },
  {
    applies: (_, config) => syncOf(config) === "no",
    level: "crash-safe",
    says: "appendfsync no: up to 30 s of writes are lost with the power. Set everysec or always.",
  },
  {
    applies: (info) => Number(info?.["connected_slaves"] ?? 0) > 0,
    level: "failover-lossy",
    says: "It has replicas, and replication is asynchronous: the last writes are lost if one of them takes over. The option minReplicas narrows this.",
  },
  {
    applies: (_, config) => config === undefined,
    level: "unknown",
    says: "CONFIG GET was refused or not answered, so what outlives a restart is not known; a managed service documents it.",
  },
  {
    applies: (info) => info === undefined,
    level: "unknown",
    says: "INFO was refused or not answered, so neither version nor replicas are known.",
  },
];

/** For clients that have no time limit of their own. */
const ANSWER_TIMEOUT_MS = 5_000;

/**
 * Asks a server, or every master of a Cluster, what it promises. Never throws: a server that refuses to say, or is
 * down, is a finding.
 */
export async function examineRedis(client: Redis | Cluster): Promise<RedisReport> {
  await ready(client, ANSWER_TIMEOUT_MS).catch(() => undefined);
  const nodes = "nodes" in client ? client.nodes("master") : [client];
  return judge(await Promise.all(nodes.map(ask)));
}

/** The worst of all nodes, each sentence once, with the names of those that it is about where there are several. */
export function judge(nodes: readonly RedisFacts[]): RedisReport {
  const found = FINDINGS.map(({ applies, level, says }) => {
    const names = nodes.filter(({ info, config }) => applies(info, config)).map(({ name }) => name);
    const sentence = nodes.length > 1 ? `${names.join(", ")}: ${says}` : says;
    return { level, sentence, isFound: names.length > 0 };
  }).filter(({ isFound }) => isFound);
  const rank = Math.max(0, ...found.map(({ level }) => LEVELS.indexOf(level ?? "power-safe")));
  return {
    level: nodes.length === 0 ? "unknown" : (LEVELS[rank] ?? "unknown"),
    errors: found.filter(({ level }) => level === undefined).map(({ sentence }) => sentence),
    warnings: found.filter(({ level }) => level !== undefined).map(({ sentence }) => sentence),
  };
}

async function ask(node: Redis): Promise<RedisFacts> {
  const [info, config] = await Promise.all([
    answerOf(node, "INFO"),
    answerOf(node, "CONFIG", "GET", "maxmemory-policy", "appendonly", "appendfsync"),
  ]);
  return { name: nameOf(node), info: infoFields(info), config: configFields(config) };
}

async function answerOf(node: Redis, name: string, ...args: string[]): Promise<unknown> {
  const { promise, cancel } = timeout();
  try {
    return await Promise.race([node.call(name, ...args), promise]);
  } catch {
    return undefined;
  } finally {
    cancel();
  }
}

function timeout(): { readonly promise: Promise<undefined>; cancel: () => void } {
  let timer: NodeJS.Timeout | undefined;
  const promise = new Promise<undefined>((resolve) => {
    timer = setTimeout(resolve, ANSWER_TIMEOUT_MS, undefined);
  });
  return { promise, cancel: () => clearTimeout(timer) };
}

/** `name:value` lines. */
function infoFields(answer: unknown): RedisFacts["info"] {
  if (typeof answer !== "string") return undefined;
  const lines = answer.split("\r\n").map((line) => line.split(":", 2));
  return Object.fromEntries(lines.filter((line) => line.length === 2));
}

/** A flat list of names and values; an object with `replyMapping: "resp3"`. Empty: a proxy that only pretends. */
function configFields(answer: unknown): RedisFacts["config"] {
  if (typeof answer !== "object" || answer === null) return undefined;
  const flat: unknown[] = Array.isArray(answer) ? answer : Object.entries(answer).flat();
  if (flat.length === 0) return undefined;
  const names = flat.filter((_, at) => at % 2 === 0);
  return Object.fromEntries(names.map((name, at) => [String(name), String(flat[2 * at + 1])]));
}

/** INFO tells it as well, to those who may not read CONFIG. */
function policyOf(info: RedisFacts["info"], config: RedisFacts["config"]): string | undefined {
  return config?.["maxmemory-policy"] ?? info?.["maxmemory_policy"];
}

function syncOf(config: RedisFacts["config"]): string | undefined {
  return config?.["appendonly"] === "yes" ? config["appendfsync"] : undefined;
}

function nameOf({ options: { host = "localhost", port = 6379 } }: Redis): string {
  return `${host}:${port}`;
}
