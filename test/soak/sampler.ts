/** Measures its own process. */
import type { EventEmitter } from "node:events";
import type { Server } from "node:http";
import { setImmediate as nextTurn } from "node:timers/promises";
import { promisify } from "node:util";
import type { Sample } from "./sample.js";

export interface Subject {
  readonly server: Server;
  readonly timers: () => number;
  readonly requests: () => number;
  readonly emitters: () => Readonly<Record<string, EventEmitter>>;
  /** Whatever else must come to an end. */
  readonly others: () => Readonly<Record<string, number>>;
}

/** Needs `--expose-gc`. */
export async function sampleOf(subject: Subject): Promise<Sample> {
  const { server, timers, requests, emitters, others } = subject;
  await collect();
  const { heapUsed, external, rss } = process.memoryUsage();
  const connections = await promisify(server.getConnections.bind(server))();
  return {
    atMs: Math.round(performance.now()),
    requests: requests(),
    heapBytes: heapUsed + external,
    rssBytes: rss,
    counts: {
      ...tally(process.getActiveResourcesInfo()),
      ...listenersOf({ process, server, ...emitters() }),
      ...others(),
      timers: timers(),
      connections,
    },
  };
}

/** Twice: what finalizers let go in a turn of the loop is garbage of the next collection. */
async function collect(): Promise<void> {
  const { gc } = globalThis as { gc?: () => void };
  if (gc === undefined) throw new Error("Start this process with --expose-gc.");
  gc();
  await nextTurn();
  gc();
}

function tally(kinds: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const kind of kinds) counts[kind] = (counts[kind] ?? 0) + 1;
  return counts;
}

function listenersOf(emitters: Readonly<Record<string, EventEmitter>>): Record<string, number> {
  const counts = Object.entries(emitters).flatMap(([name, emitter]) =>
    emitter
      .eventNames()
      .map(
        (event) =>
          [`listeners of the ${name}: ${String(event)}`, emitter.listenerCount(event)] as const,
      ),
  );
  return Object.fromEntries(counts);
}
