/** Whether a process is after its load what it was before: what it keeps in memory, and what it has open. */
import { median, type Sample } from "./sample.js";

export interface Run {
  /** Idle, before the load. */
  readonly before: Sample;
  /** Under load, at equal distances. */
  readonly samples: readonly Sample[];
  /** Idle again, everything drained. */
  readonly after: Sample;
}

/** Code is compiled, pools fill up, and the first records expire. */
const WARM_UP_SHARE = 0.2;

/** With fewer in each third, a median says nothing. */
const LEAST_PER_THIRD = 4;

/** Requests under way at a sample differ, a large body among them; a leak grows with every request, and beyond this. */
const HEAP_GROWTH = { bytes: 2 * 2 ** 20, share: 0.05 };

/** The resident set also grows by fragments, and shrinks when the system likes. */
const RSS_GROWTH = { bytes: 24 * 2 ** 20, share: 0.2 };

type Bound = typeof HEAP_GROWTH;
type Size = "heapBytes" | "rssBytes";

/** Medians of a size over the first and the last third of the run, its warm-up left out. */
export interface Thirds {
  readonly first: number;
  readonly last: number;
}

/** @returns A sentence for each leak; empty where there is none. */
export function leaksOf(run: Run): string[] {
  const warm = warmed(run.samples);
  if (warm.length < 3 * LEAST_PER_THIRD) {
    return [`Only ${warm.length} samples after the warm-up: ${3 * LEAST_PER_THIRD} are needed.`];
  }
  return [
    ...growthOf("the heap after collection", thirdsOf(run, "heapBytes"), HEAP_GROWTH),
    ...growthOf("the resident set", thirdsOf(run, "rssBytes"), RSS_GROWTH),
    ...leftOver(run),
  ];
}

export function thirdsOf({ samples }: Run, size: Size): Thirds {
  const sizes = warmed(samples).map((sample) => sample[size]);
  const third = Math.floor(sizes.length / 3);
  return { first: median(sizes.slice(0, third)), last: median(sizes.slice(-third)) };
}

function warmed(samples: readonly Sample[]): readonly Sample[] {
  return samples.slice(Math.ceil(samples.length * WARM_UP_SHARE));
}

function* growthOf(what: string, { first, last }: Thirds, bound: Bound): Iterable<string> {
  const allowed = Math.max(bound.bytes, first * bound.share);
  if (last - first <= allowed) return;
  yield (
    `Memory leaks: ${what} grew from ${mib(first)} (median of the first third) to ${mib(last)} (last), ` +
      `by more than ${mib(allowed)}.`
  );
}

/** What is closed and was open before is no leak: a server may close an idle connection of a pool. */
function* leftOver({ before, after }: Run): Iterable<string> {
  for (const [name, count] of Object.entries(after.counts)) {
    const was = before.counts[name] ?? 0;
    if (count > was) yield `${name}: ${was} before the load, ${count} after it.`;
  }
}

export function mib(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(1)} MiB`;
}
