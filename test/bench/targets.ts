/** What the kit wants to reach, as ratios within one run, and whether it did. */
import type { Results } from "./results.js";
import { ratio, spread, type Spread } from "./statistics.js";
import { SIZES, type Row, type Sample } from "./measures/throughput.js";
import { GROUPS } from "./subjects.js";

export interface Target {
  readonly what: string;
  readonly wanted: string;
  readonly measured: string;
  readonly met: boolean;
}

type Of = readonly [group: string, subject: string, kind: Row["kind"]];

const RATIOS: readonly { what: string; of: Of; to: Of; atLeast: number }[] = [
  {
    what: "memory, fresh, over no idempotency",
    of: ["memory", "kit-memory", "fresh"],
    to: ["memory", "bare", "fresh"],
    atLeast: 0.9,
  },
  {
    what: "memory, replay, over no idempotency",
    of: ["memory", "kit-memory", "replay"],
    to: ["memory", "bare", "fresh"],
    atLeast: 0.9,
  },
  {
    what: "Redis, fresh, over the floor",
    of: ["redis", "kit-redis", "fresh"],
    to: ["redis", "floor-redis", "fresh"],
    atLeast: 0.9,
  },
  {
    what: "Redis, replay, over the floor",
    of: ["redis", "kit-redis", "replay"],
    to: ["redis", "floor-redis", "replay"],
    atLeast: 0.95,
  },
  {
    what: "Redlock on 3 masters, fresh, over the kit on one Redis",
    of: ["redlock", "kit-redlock", "fresh"],
    to: ["redlock", "kit-redis", "fresh"],
    atLeast: 0.6,
  },
  {
    what: "DynamoDB, fresh, over two raw SDK calls",
    of: ["dynamodb", "kit-dynamodb", "fresh"],
    to: ["dynamodb", "floor-dynamodb", "fresh"],
    atLeast: 0.95,
  },
];

export function targets(results: Results): Target[] {
  return [
    ...RATIOS.flatMap((target) => ratioTarget(results, target)),
    ...peerTargets(results),
    ...tripTargets(results),
    ...distanceTargets(results),
    ...bundleTargets(results),
  ];
}

export function perSecond(samples: readonly Sample[]): number[] {
  return samples.map((sample) => sample.perSecond);
}

export function find(
  { throughput }: Results,
  [group, subject, kind]: Of,
  size = 200,
  connections = 32,
): Row | undefined {
  return throughput.find(
    (row) =>
      row.group === group &&
      row.subject === subject &&
      row.kind === kind &&
      row.size === size &&
      row.connections === connections,
  );
}

function ratioTarget(
  results: Results,
  { what, of, to, atLeast }: (typeof RATIOS)[number],
): Target[] {
  const [row, other] = [find(results, of), find(results, to)];
  if (row === undefined || other === undefined) return [];
  const measured = ratio(perSecond(row.samples), perSecond(other.samples));
  if (measured === undefined) return [];
  return [
    {
      what,
      wanted: `≥ ${atLeast.toFixed(2)}`,
      measured: show(measured),
      met: measured.median >= atLeast,
    },
  ];
}

/** In every row that the kit and a peer share: the fastest peer counts. */
function peerTargets(results: Results): Target[] {
  return GROUPS.flatMap((group) =>
    group.subjects
      .filter(({ role }) => role === "peer")
      .flatMap((peer) => {
        const kit = group.subjects.find(({ role }) => role === "kit");
        const all = (["fresh", "replay"] as const).flatMap((kind) =>
          SIZES.flatMap((size) => {
            const [own, theirs] = [kit?.name ?? "", peer.name].map((name) =>
              find(results, [group.name, name, kind], size),
            );
            if (own === undefined || theirs === undefined) return [];
            const by = ratio(perSecond(own.samples), perSecond(theirs.samples));
            return by === undefined ? [] : [{ kind, size, by }];
          }),
        );
        const [worst] = all.toSorted((a, b) => a.by.median - b.by.median);
        if (worst === undefined) return [];
        return [
          {
            what: `${group.title}: over ${peer.title}, worst row (${worst.kind}, ${worst.size} B)`,
            wanted: "> 1.00",
            measured: show(worst.by),
            met: worst.by.median > 1,
          },
        ];
      }),
  );
}

function tripTargets({ trips }: Results): Target[] {
  return trips
    .filter(({ subject }) => subject.startsWith("kit-") && subject !== "kit-redis-cached")
    .map(({ subject, fresh, replay }) => ({
      what: `${subject}: round trips, fresh and replay`,
      wanted: "2 and 1",
      measured: `${fresh.roundTrips} and ${replay.roundTrips}`,
      met: fresh.roundTrips === 2 && replay.roundTrips === 1,
    }));
}

/** Masters 0, 40 and 80 ms away: two of 80 at most for a request, one of 40 for a replay; ten on top for the rest. */
function distanceTargets({ distances }: Results): Target[] {
  return distances
    .filter(({ subject }) => subject === "kit-redlock")
    .flatMap(({ freshMs, replayMs }) => [
      {
        what: "masters 0, 40 and 80 ms away: fresh",
        wanted: "≤ 2 × 80 ms",
        measured: `${freshMs.median.toFixed(1)} ms`,
        met: freshMs.median <= 170,
      },
      {
        what: "masters 0, 40 and 80 ms away: replay",
        wanted: "≤ 40 ms and what a request takes",
        measured: `${replayMs.median.toFixed(1)} ms`,
        met: replayMs.median <= 50,
      },
    ]);
}

function bundleTargets({ bundles }: Results): Target[] {
  const [kit, powertools] = ["kit", "powertools"].map((name) =>
    bundles.find(({ subject }) => subject === name),
  );
  if (kit === undefined || powertools === undefined) return [];
  return [
    {
      what: "Lambda bundle on DynamoDB over Powertools'",
      wanted: "≤ 1.00",
      measured: (kit.bytes / powertools.bytes).toFixed(2),
      met: kit.bytes <= powertools.bytes,
    },
    {
      what: "import of that bundle over Powertools'",
      wanted: "≤ 1.00",
      measured: (kit.importMs.median / powertools.importMs.median).toFixed(2),
      met: kit.importMs.median <= powertools.importMs.median,
    },
  ];
}

export function show({ median, min, max }: Spread, digits = 2): string {
  const text = [median, min, max].map((figure) => figure.toFixed(digits));
  return `${text[0]} (${text[1]}–${text[2]})`;
}

export function spreadOf(
  row: Row | undefined,
  figure: (sample: Sample) => number,
): Spread | undefined {
  return row && spread(row.samples.map((sample) => figure(sample)));
}
