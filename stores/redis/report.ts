/** What an operator is told when a store starts: what its servers promise, and what in its clients can hurt. */
import type { Cluster, Redis } from "ioredis";
import { checkClient } from "./check.js";
import { examineRedis, type RedisReport } from "./doctor.js";

export interface RedisNodeReport extends RedisReport {
  /** Which endpoint it is about: `host:port`, without credentials. */
  readonly node: string;
}

export type OnReport = (report: RedisNodeReport) => void;

/** Reads settings and server in the background; a server that is down or refuses to tell is a finding, not a failure. */
export function reportOn(client: Redis | Cluster, node: string, onReport: OnReport): void {
  const ofClient = checkClient(client);
  examineRedis(client)
    .then(({ level, errors, warnings }) =>
      onReport({ node, level, errors, warnings: [...ofClient, ...warnings] }),
    )
    .catch((error: unknown) => {
      process.emitWarning(error instanceof Error ? error : String(error));
    });
}

/** The default: a process warning for each finding, and none for a server that promises all. */
export function warnOf({ node, level, errors, warnings }: RedisNodeReport): void {
  for (const text of [...errors, ...warnings]) {
    process.emitWarning(`Redis at ${node} (${level}): ${text}`, { code: "IDEMPOTENCY_REDIS" });
  }
}
