/** What is measured of the server process. */
export interface Sample {
  /** Since the process began, in milliseconds. */
  readonly atMs: number;
  /** Requests that have come in so far. */
  readonly requests: number;
  /** After a forced collection: what V8 keeps, buffers included. */
  readonly heapBytes: number;
  readonly rssBytes: number;
  /** What must be as many in the end as in the beginning: timers, sockets, listeners, by name. */
  readonly counts: Readonly<Record<string, number>>;
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const [low = Number.NaN, high = low] = sorted.slice(
    Math.floor((sorted.length - 1) / 2),
    Math.floor(sorted.length / 2) + 1,
  );
  return (low + high) / 2;
}
