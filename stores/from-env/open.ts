/** The chosen store, with all that belongs to it: its connections, and what can be asked about them. */
import type { Store } from "../../src/store.js";
import type { Swept, SweepOptions } from "../dynamodb/sweep.js";
import type { ListPage, ListRequest } from "../listing.js";
import type { OnReport } from "../redis/report.js";
import { withDriver } from "./driver.js";
import type { Environment } from "./environment.js";

/** What becomes of stored records: from the best to the worst, see `RedisLevel`. */
export type StoreLevel = "power-safe" | "crash-safe" | "failover-lossy" | "unknown" | "forgetful";

/** What one of a store's nodes says of itself. */
export interface NodeReport {
  readonly node: string;
  readonly level: StoreLevel;
  /** How far its clock is ahead of this machine's, in milliseconds; `undefined` where it does not tell. */
  readonly clockSkewMs: number | undefined;
  readonly errors: readonly string[];
  readonly warnings: readonly string[];
}

export interface OpenStore {
  /** Its `close` closes every connection that was made for it. */
  readonly store: Store & Required<Pick<Store, "close">>;
  /** Why nodes cannot be reached, a sentence for each; empty when all can. Waits for connections that are on their way. */
  unreachable(): Promise<readonly string[]>;
  /** Asks every node that answers what it promises. */
  examine(): Promise<readonly NodeReport[]>;
  /** What stands in the store. Absent for `memory`, which is each process's own: a tool has nothing to look into. */
  list?(request: ListRequest): Promise<ListPage>;
  /** Deletes what is over. Absent where servers do that by themselves: Redis, and memory. */
  sweep?(options: SweepOptions): Promise<Swept>;
}

/** Opens what {@link readEnvironment} read. `onReport` is told what Redis servers promise; default: process warnings. */
export async function openStore(
  { target, storeOptions }: Environment,
  onReport?: OnReport,
): Promise<OpenStore> {
  if (target.kind === "memory") return await openMemory();
  if (target.kind === "dynamodb") {
    const { openDynamodb } = await withDriver(target.kind, () => import("./open-dynamodb.js"));
    return openDynamodb(target, storeOptions);
  }
  const { openRedis } = await withDriver(target.kind, () => import("./open-redis.js"));
  return await openRedis(target, storeOptions, onReport);
}

async function openMemory(): Promise<OpenStore> {
  const { memoryStore } = await import("../memory.js");
  const report: NodeReport = {
    node: "this process",
    level: "forgetful",
    clockSkewMs: 0,
    errors: [],
    warnings: [
      "The memory store is one process's own: others see nothing of it, and a restart forgets all.",
    ],
  };
  return {
    store: memoryStore(),
    unreachable: () => Promise.resolve([]),
    examine: () => Promise.resolve([report]),
  };
}
