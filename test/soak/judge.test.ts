/** The judge of a soak run: it finds what leaks, and not what only looks like it. */
import { describe, expect, test } from "vitest";
import { leaksOf, type Run } from "./judge.js";
import { median, type Sample } from "./sample.js";

const MIB = 2 ** 20;
const COUNTS = { timers: 1, sockets: 3, "listeners of the server: request": 1 };
const REQUESTS_PER_SAMPLE = 500;

function sample(at: number, sizes: Partial<Sample> = {}): Sample {
  const requests = at * REQUESTS_PER_SAMPLE;
  return {
    atMs: at * 5_000,
    requests,
    heapBytes: 20 * MIB,
    rssBytes: 90 * MIB,
    counts: COUNTS,
    ...sizes,
  };
}

/** A run of five minutes. */
function runOf(sizes: (at: number) => Partial<Sample>, after: Partial<Sample> = {}): Run {
  const samples = Array.from({ length: 60 }, (_, at) => sample(at, sizes(at)));
  return { before: sample(0), samples, after: sample(61, after) };
}

/** As if large bodies were under way at every fourth sample: up to 8 MiB, by no rule that ends. */
function noisy(at: number): number {
  return 20 * MIB + (at % 4 === 0 ? ((at * 7) % 9) * MIB : ((at * 13) % 5) * 50_000);
}

describe("nothing leaks", () => {
  test.each<[string, Run]>([
    ["where everything stays as it is", runOf(() => ({}))],
    ["where memory is noisy", runOf((at) => ({ heapBytes: noisy(at) }))],
    [
      "where it grows while the process warms up",
      runOf((at) => ({ heapBytes: Math.min(at, 12) * 2 * MIB })),
    ],
    ["where it shrinks", runOf((at) => ({ heapBytes: (80 - at) * MIB }))],
    [
      "where one sample is far off",
      runOf((at) => ({ heapBytes: at === 55 ? 400 * MIB : 20 * MIB })),
    ],
    [
      "where the resident set grows a little",
      runOf((at) => ({ rssBytes: 90 * MIB + at * 0.3 * MIB })),
    ],
    ["where less is open than before", runOf(() => ({}), { counts: { ...COUNTS, sockets: 0 } })],
    [
      "where more is open under load",
      runOf(() => ({ counts: { ...COUNTS, sockets: 80, timers: 200 } })),
    ],
  ])("%s", (_, run) => {
    expect(leaksOf(run)).toEqual([]);
  });
});

describe("a leak is named:", () => {
  /** In 60 samples of 500 requests. */
  const perRequest = (bytes: number) => (at: number) => ({
    heapBytes: noisy(at) + at * REQUESTS_PER_SAMPLE * bytes,
  });

  test("memory, 250 bytes of each request", () => {
    expect(leaksOf(runOf(perRequest(250)))).toEqual([
      expect.stringMatching(/^Memory leaks: the heap after collection grew from 2\d\.\d MiB/),
    ]);
  });

  test("memory that the heap does not know of", () => {
    expect(leaksOf(runOf((at) => ({ rssBytes: 90 * MIB + at * MIB })))).toEqual([
      expect.stringMatching(/^Memory leaks: the resident set grew/),
    ]);
  });

  test.each([
    ["timers", "timers: 1 before the load, 2 after it."],
    ["sockets", "sockets: 3 before the load, 4 after it."],
    [
      "listeners of the server: request",
      "listeners of the server: request: 1 before the load, 2 after it.",
    ],
  ] as const)("one of the %s", (name, leak) => {
    const counts = { ...COUNTS, [name]: COUNTS[name] + 1 };
    expect(leaksOf(runOf(() => ({}), { counts }))).toEqual([leak]);
  });

  test("something of a kind that was not there before", () => {
    const counts = { ...COUNTS, FSEVENTWRAP: 1 };
    expect(leaksOf(runOf(() => ({}), { counts }))).toEqual([
      "FSEVENTWRAP: 0 before the load, 1 after it.",
    ]);
  });
});

test("a run of few samples proves nothing, and does not pass", () => {
  const { samples, ...ends } = runOf(() => ({}));
  expect(leaksOf({ ...ends, samples: samples.slice(0, 14) })).toEqual([
    "Only 11 samples after the warm-up: 12 are needed.",
  ]);
});

test("the median of an even number is between the two in the middle", () => {
  expect([median([3]), median([4, 1]), median([9, 1, 5]), median([1, 2, 10, 3])]).toEqual([
    3, 2.5, 5, 2.5,
  ]);
});

test.each([
  ["heapBytes", 20 * MIB, 2 * MIB],
  ["heapBytes", 100 * MIB, 5 * MIB],
  ["rssBytes", 90 * MIB, 24 * MIB],
  ["rssBytes", 200 * MIB, 40 * MIB],
] as const)(
  "%s of %i bytes may grow by %i from the first third to the last, and by no byte more",
  (size, first, most) => {
    // The first fifth does not count, and of the rest the last third begins at 44.
    const grown = (by: number) =>
      runOf((at) => ({ [size]: at < 12 ? 1_000 * MIB : at < 44 ? first : first + by }));

    expect(leaksOf(grown(most))).toEqual([]);
    expect(leaksOf(grown(most + 1))).toHaveLength(1);
  },
);
