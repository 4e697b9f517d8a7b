/** What an operator is told: what servers promise when a store starts, and that one came back without its data. */
import type { Cluster, Redis } from "ioredis";
import { checkClient } from "./check.js";
import { examineRedis, type RedisReport } from "./doctor.js";
import type { Marker } from "./marker.js";

export interface RedisNodeReport extends RedisReport {
  /** Which endpoint it is about: `host:port`, without credentials. */
  readonly node: string;
  /** Set where the endpoint came back without its data: when that was noticed, by the first process that did. */
  readonly lostAt?: Date;
}

export type OnReport = (report: RedisNodeReport) => void;

/** Reads settings and server in the background; a server that is down or refuses to tell is a finding, not a failure. */
export function reportOn(
  client: Redis | Cluster,
  { node, marker, onReport }: { node: string; marker: Marker; onReport: OnReport },
): void {
  const ofClient = checkClient(client);
  const examine = async (): Promise<void> => {
    const { level, errors, warnings } = await examineRedis(client);
    // A loss is told first: it is the worse news. Where the marker cannot be read, every request says so.
    await marker.look().catch(() => {});
    onReport({ node, level, errors, warnings: [...ofClient, ...warnings] });
  };
  examine().catch(warnOfThrown);
}

/** @param consequence What is to be expected of that, and done about it. */
export function reportLoss(
  node: string,
  lostAt: Date,
  { consequence, onReport }: { consequence: string; onReport: OnReport },
): void {
  const says = `It came back without its data: it restarted empty, was flushed or replaced. ${consequence}`;
  try {
    onReport({ node, level: "forgetful", errors: [says], warnings: [], lostAt });
  } catch (error) {
    warnOfThrown(error);
  }
}

/** The default: a process warning for each finding, and none for a server that promises all. */
export function warnOf({ node, level, errors, warnings }: RedisNodeReport): void {
  for (const text of [...errors, ...warnings]) {
    process.emitWarning(`Redis at ${node} (${level}): ${text}`, { code: "IDEMPOTENCY_REDIS" });
  }
}

/** A listener that throws shall end neither the process nor the look at a server. */
function warnOfThrown(error: unknown): void {
  process.emitWarning(error instanceof Error ? error : String(error));
}
