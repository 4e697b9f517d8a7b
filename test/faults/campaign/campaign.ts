/** Rounds one after another, and what they add up to. */
import { FLAWED_STORES } from "./flawed-stores.js";
import { FAULT_KINDS, type FaultKind } from "./plan.js";
import { runRound, type RoundResult } from "./round.js";

export interface CampaignOptions {
  readonly store: string;
  readonly seed: number;
  /** The first round; others follow until `untilMs` is over or `isEnough`. Every third may set clocks. */
  readonly firstRound?: number;
  readonly maxRounds?: number;
  readonly minutes?: number;
  readonly kinds?: readonly FaultKind[] | undefined;
  readonly roundMs?: number;
  readonly keysPerSecond?: number;
  readonly stageFaults?: number;
  readonly longHandlers?: number;
  /** Told after each round. */
  readonly onRound?: (result: RoundResult, total: Totals) => void;
  /** Ends a campaign early. */
  readonly isEnough?: (total: Totals) => boolean;
}

export interface Totals {
  readonly store: string;
  readonly seed: number;
  rounds: number;
  elapsedMs: number;
  keys: number;
  requests: number;
  executions: number;
  /** Executions beyond the first of a key, each with its reason. */
  again: number;
  faults: number;
  forfeited: number;
  violations: number;
  /** By promise. */
  readonly broken: Record<string, number>;
  /** When the first violation was known. */
  firstViolationMs: number | undefined;
}

const NETWORK_FAULTS = [
  "kill",
  "pause",
  "partition",
  "slow",
  "lossy",
  "lost-reply",
  "late",
] as const;
const NODE_FAULTS = [...NETWORK_FAULTS, "node-kill", "node-pause", "clock"] as const;

/** What each store promises to stand. */
const KINDS: Readonly<Record<string, readonly FaultKind[]>> = {
  // Its keys end with its process.
  memory: ["pause", "clock", "memory"],
  redis: NODE_FAULTS,
  redlock: NODE_FAULTS,
  redlock5: NODE_FAULTS,
  // The one that runs here keeps nothing when it dies.
  dynamodb: NODE_FAULTS.filter((kind) => kind !== "node-kill"),
  // Whatever a master does for longer than a second ends in a failover, which may forget requests: `--faults failover`.
  cluster: NETWORK_FAULTS,
};

export function kindsOf(store: string): readonly FaultKind[] {
  return KINDS[FLAWED_STORES[store]?.base ?? store] ?? FAULT_KINDS;
}

/** Exclusion can only be judged where no node's clock was set, so most rounds leave the clocks alone. */
const CLOCK_EVERY = 3;

export async function runCampaign(options: CampaignOptions): Promise<Totals> {
  const { store, seed, firstRound = 1, minutes, kinds, onRound, isEnough = () => false } = options;
  const { maxRounds = minutes === undefined ? 1 : Number.POSITIVE_INFINITY } = options;
  const { roundMs = 12_000, keysPerSecond = 15, stageFaults = 0.04, longHandlers = 0.1 } = options;
  const startedAt = performance.now();
  const total = newTotals(store, seed);
  for (let round = firstRound; round < firstRound + maxRounds; round += 1) {
    const usual = kindsOf(store).filter((kind) => kind !== "clock" || round % CLOCK_EVERY === 0);
    const result = await runRound({
      store,
      seed,
      round,
      kinds: kinds ?? usual,
      roundMs,
      keysPerSecond,
      stageFaults,
      longHandlers,
    });
    total.elapsedMs = performance.now() - startedAt;
    add(result, total);
    onRound?.(result, total);
    if (isEnough(total) || total.elapsedMs >= (minutes ?? Infinity) * 60_000) break;
  }
  return total;
}

function newTotals(store: string, seed: number): Totals {
  return {
    store,
    seed,
    rounds: 0,
    elapsedMs: 0,
    keys: 0,
    requests: 0,
    executions: 0,
    again: 0,
    faults: 0,
    forfeited: 0,
    violations: 0,
    broken: {},
    firstViolationMs: undefined,
  };
}

function add({ history, violations, injected, forfeited }: RoundResult, total: Totals): void {
  const keys = new Set(history.requests.map(({ key }) => key)).size;
  const executed = new Set(history.executions.map(({ key }) => key)).size;
  total.rounds += 1;
  total.keys += keys;
  total.requests += history.requests.length;
  total.executions += history.executions.length;
  total.again += history.executions.length - executed;
  total.faults += injected;
  total.forfeited += forfeited;
  total.violations += violations.length;
  for (const { promise } of violations) total.broken[promise] = (total.broken[promise] ?? 0) + 1;
  if (violations.length > 0) total.firstViolationMs ??= total.elapsedMs;
}
