/** What many schedules come to. */
import type { ScheduleReport } from "./schedule.js";

export interface Totals {
  readonly schedules: number;
  readonly requests: number;
  readonly executions: number;
  readonly results: number;
  readonly wedged: number;
  readonly steps: number;
  readonly faults: Readonly<Record<string, number>>;
  /** With their seeds, lowest first; no more than the first few. */
  readonly violations: readonly string[];
}

const MOST_VIOLATIONS = 100;

export const NOTHING: Totals = {
  schedules: 0,
  requests: 0,
  executions: 0,
  results: 0,
  wedged: 0,
  steps: 0,
  faults: {},
  violations: [],
};

export function totalsOf(seed: number, report: ScheduleReport): Totals {
  const { requests, executions, results, wedged, steps, faults, violations } = report;
  return {
    schedules: 1,
    requests,
    executions,
    results,
    wedged,
    steps,
    faults: Object.fromEntries(faults),
    violations: violations.map(
      ({ promise, key, says }) => `seed ${seed}: ${promise} of ${key}: ${says}`,
    ),
  };
}

export function add(a: Totals, b: Totals): Totals {
  const faults: Record<string, number> = { ...a.faults };
  for (const [name, times] of Object.entries(b.faults)) faults[name] = (faults[name] ?? 0) + times;
  return {
    schedules: a.schedules + b.schedules,
    requests: a.requests + b.requests,
    executions: a.executions + b.executions,
    results: a.results + b.results,
    wedged: a.wedged + b.wedged,
    steps: a.steps + b.steps,
    faults,
    violations: [...a.violations, ...b.violations].toSorted(bySeed).slice(0, MOST_VIOLATIONS),
  };
}

export function sayTotals(totals: Totals): string {
  const { schedules, requests, executions, results, wedged, faults, violations } = totals;
  const injected = Object.values(faults).reduce((sum, times) => sum + times, 0);
  const counts =
    `${schedules} schedules, ${requests} requests, ${executions} executions, ${results} results, ` +
    `${injected} faults, ${wedged} keys for an operator, ${violations.length} violations`;
  return [counts, ...violations.slice(0, 10)].join("\n  ");
}

function bySeed(a: string, b: string): number {
  return seedIn(a) - seedIn(b);
}

/** Of the line that names a violation. */
export function seedIn(violation: string): number {
  return Number(/^seed (-?\d+)/.exec(violation)?.[1]);
}

/** Of that line as well: the promise that was broken. */
export function promiseIn(violation: string): string {
  return /^seed -?\d+: (P\d)/.exec(violation)?.[1] ?? "none";
}
