/** What goes wrong in a round, when, and where: made from the seed before the round begins. */
import { between, oneOf, someOf, type Random } from "./random.js";
import { STAGES, type StageFault } from "./request-plan.js";

/** By the names that `--faults` takes. */
export const FAULT_KINDS = [
  /** A server process dies (SIGKILL), at any time or at a stage of a request, and is started again. */
  "kill",
  /** A server process stands still for longer than its lease (SIGSTOP, or a block at a stage of a request). */
  "pause",
  /** A node dies and comes back with its data. */
  "node-kill",
  /** A node stands still; what lies in its buffers is executed when it goes on. */
  "node-pause",
  /** A process does not reach some nodes: neither way, or its requests or their replies get lost. */
  "partition",
  /** Packets take their time, in each direction another. */
  "slow",
  /** Connections are reset again and again. */
  "lossy",
  /** A node executes a write, and its reply is lost with the connection. */
  "lost-reply",
  /** Requests arrive long after whoever sent them has given up. */
  "late",
  /** The wall clocks of nodes, and of server processes, are set off. */
  "clock",
  /** Redis Cluster: a master is gone for long enough for its replica to take over. */
  "failover",
  /** The memory store has room for some dozens of keys only. */
  "memory",
  /** A node dies and comes back without its data. */
  "amnesia",
] as const;

export type FaultKind = (typeof FAULT_KINDS)[number];

export interface Fault {
  readonly kind: FaultKind;
  readonly atMs: number;
  readonly forMs: number;
  /** A server process. */
  readonly place: number;
  /** The nodes that it is about. */
  readonly nodes: readonly number[];
  /** Of partitions: what gets lost. */
  readonly way: "both" | "requests" | "replies" | "connections";
  /** Of slow links: delays of requests and replies. */
  readonly delaysMs: readonly [number, number];
  /** Of clocks. */
  readonly offsetMs: number;
}

export interface PlanOptions {
  readonly random: Random;
  readonly kinds: readonly FaultKind[];
  readonly roundMs: number;
  readonly leaseMs: number;
  readonly places: number;
  readonly nodes: number;
}

/** Nearly always two or three at once, so that they meet. */
const FAULTS_PER_SECOND = 1.2;

/** Strikes a request, not a time; `memory` is there for a whole run. */
const isTimed = (kind: FaultKind): boolean => kind !== "memory";

export function planFaults({
  random,
  kinds,
  roundMs,
  leaseMs,
  places,
  nodes,
}: PlanOptions): Fault[] {
  const timed = kinds.filter(isTimed);
  if (timed.length === 0) return [];
  const allNodes = Array.from({ length: nodes }, (_, at) => at);
  const count = Math.max(timed.length, Math.round((roundMs / 1_000) * FAULTS_PER_SECOND));
  const faults = Array.from({ length: count }, (_, at): Fault => {
    // Each kind in turn, so that a short round has all of them.
    const kind = timed[at % timed.length] ?? oneOf(random, timed);
    const atMs = between(random, 0, roundMs * 0.9);
    const some =
      nodes === 0 ? [] : isOfOneNode(kind) ? [oneOf(random, allNodes)] : someOf(random, allNodes);
    return {
      kind,
      atMs,
      forMs: between(random, ...durationOf(kind, leaseMs)),
      place: between(random, 0, places - 1),
      nodes: some,
      way: oneOf(random, ["both", "requests", "replies", "connections"]),
      delaysMs: [between(random, 0, 120), between(random, 0, 120)],
      offsetMs: between(random, -20, 20) * leaseMs,
    };
  });
  return faults.toSorted((a, b) => a.atMs - b.atMs);
}

function isOfOneNode(kind: FaultKind): boolean {
  return !["partition", "slow", "lossy", "late"].includes(kind);
}

function durationOf(kind: FaultKind, leaseMs: number): [fromMs: number, toMs: number] {
  switch (kind) {
    case "pause":
      return [leaseMs * 1.1, leaseMs * 1.8];
    case "kill":
      return [0, 1_000];
    case "node-kill":
    case "amnesia":
      return [50, leaseMs];
    case "failover":
      // A second until it is missed, another one for the election, and time to work with the successor.
      return [3_500, 5_500];
    case "slow":
    case "lossy":
    case "clock":
      return [1_000, 3_000];
    case "node-pause":
    case "partition":
    case "late":
      return [300, leaseMs * 1.5];
    case "lost-reply":
    case "memory":
      return [0, 0];
    default:
      throw new Error(`Bug! Unknown fault ${String(kind satisfies never)}`);
  }
}

export function planStageFault(
  random: Random,
  { kinds, stageFaults, leaseMs }: StageFaultOptions,
): StageFault | undefined {
  const [chance, which, stage, length] = [random(), random(), random(), random()];
  if (chance >= stageFaults) return undefined;
  const usual = which < 0.5 ? "die" : "freeze";
  const does = kinds.includes("kill") && kinds.includes("pause") ? usual : onlyOne(kinds);
  if (does === undefined) return undefined;
  const forMs = between(() => length, leaseMs * 1.1, leaseMs * 1.8);
  return { stage: oneOf(() => stage, STAGES), does, forMs };
}

interface StageFaultOptions {
  readonly kinds: readonly FaultKind[];
  readonly stageFaults: number;
  readonly leaseMs: number;
}

function onlyOne(kinds: readonly FaultKind[]): StageFault["does"] | undefined {
  if (kinds.includes("kill")) return "die";
  return kinds.includes("pause") ? "freeze" : undefined;
}
