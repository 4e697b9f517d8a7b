/** Numbers that look random and can be had again: everything that a campaign decides comes from one seed. */

/** From 0 up to, but not including, 1. */
export type Random = () => number;

/** Mulberry32. Seeds that differ in their last part only give streams that have nothing to do with each other. */
export function randomFrom(...seeds: readonly number[]): Random {
  let state = seeds.reduce(
    (sum, seed) => mixed(Math.imul(sum, 0x01_00_01_93) ^ seed),
    0x9e_37_79_b9,
  );
  return () => {
    state = (state + 0x6d_2b_79_f5) | 0;
    return (mixed(state) >>> 0) / 2 ** 32;
  };
}

function mixed(state: number): number {
  const half = Math.imul(state ^ (state >>> 15), 1 | state);
  const full = (half + Math.imul(half ^ (half >>> 7), 61 | half)) ^ half;
  return full ^ (full >>> 14);
}

export function between(random: Random, from: number, to: number): number {
  return Math.round(from + random() * (to - from));
}

export function oneOf<T>(random: Random, all: readonly T[]): T {
  const one = all[Math.floor(random() * all.length)];
  if (one === undefined) throw new Error("Nothing to choose from.");
  return one;
}

/** Some of them, in their order: each with the same chance, and at least one. */
export function someOf<T>(random: Random, all: readonly T[]): T[] {
  const some = all.filter(() => random() < 0.5);
  return some.length > 0 ? some : [oneOf(random, all)];
}
