/** What is left of several rounds: the middle one, and how far the others were away. */
export interface Spread {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

export function spread(samples: readonly number[]): Spread {
  const sorted = samples.toSorted((a, b) => a - b);
  const [min, max] = [sorted[0], sorted.at(-1)];
  if (min === undefined || max === undefined) throw new Error("There are no samples.");
  const middle = (sorted.length - 1) / 2;
  const [below = min, above = max] = [sorted[Math.floor(middle)], sorted[Math.ceil(middle)]];
  return { median: (below + above) / 2, min, max };
}

/** Round by round, so that what slowed both down cancels out; without a round that both have, nothing. */
export function ratio(samples: readonly number[], to: readonly number[]): Spread | undefined {
  const ratios = samples
    .map((sample, round) => sample / (to[round] ?? 0))
    .filter((value) => Number.isFinite(value));
  return ratios.length === 0 ? undefined : spread(ratios);
}
