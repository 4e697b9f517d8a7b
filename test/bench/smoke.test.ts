/** Keeps the benchmark alive: one subject per store for a moment. No figure is asserted. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { chart } from "./chart.js";
import { conditions } from "./machine.js";
import { take, type Row } from "./measures/throughput.js";
import { report } from "./report.js";
import { ONE_BY_ONE } from "./requests.js";
import { Services } from "./services.js";
import { Subject } from "./subject.js";
import { GROUPS, subjectNamed, type StoreName } from "./subjects.js";

const SECONDS = 0.1;
// A slow machine shall not look like a broken benchmark.
const TIMEOUT_MS = 60_000;

const services = new Services();
const rows: Row[] = [];

beforeAll(() => services.start(new Set<StoreName>(["redis", "redlock", "dynamodb"])), TIMEOUT_MS);
afterAll(() => services.close());

test.each(["kit-memory", "kit-redis", "kit-redlock", "kit-dynamodb"])(
  "%s runs every fresh request and no replay",
  async (name) => {
    const spec = subjectNamed(name);
    await using subject = await Subject.start(spec, services.addresses);
    for (const kind of ["fresh", "replay"] as const) {
      const point = { kind, size: 200, connections: 32 };
      const bench = { services, load: ONE_BY_ONE };
      const sample = await take(bench, spec, subject, point, SECONDS);
      expect(sample).toMatchObject({ errors: 0, wrong: 0 });
      expect(sample.requests).toBeGreaterThan(0);
      const group = GROUPS.find(({ subjects }) => subjects.includes(spec))?.name ?? "";
      rows.push({ group, subject: name, ...point, samples: [sample] });
    }
  },
  TIMEOUT_MS,
);

test("what was measured becomes a page and a chart, with what went wrong on it", () => {
  const [row] = rows;
  const [sample] = row?.samples ?? [];
  if (row === undefined || sample === undefined) throw new Error("Nothing was measured.");
  const broken = { ...row, samples: [{ ...sample, errors: 7 }] };
  const results = {
    conditions: conditions(),
    load: ONE_BY_ONE.name,
    rounds: 1,
    seconds: SECONDS,
    quick: true,
    minutes: 0,
    failures: ["redis, round 1: it ended"],
    throughput: [broken, ...rows.slice(1)],
    trips: [
      {
        subject: "kit-redis",
        fresh: { roundTrips: 3, commands: 3 },
        replay: { roundTrips: 1, commands: 1 },
      },
    ],
    distances: [],
    growth: [],
    footprint: { inFlight: [], units: [] },
    bundles: [],
  };

  const page = report(results);
  expect(page).toContain("**Provisional figures**");
  expect(page).toContain(
    "| kit-redis: round trips, fresh and replay | 2 and 1 | 3 and 1 | **missed** |",
  );
  expect(page).toContain("- redis, round 1: it ended");
  expect(page).toMatch(/- idempotency-kit \(kit-memory\).*7 failed/);
  expect(page).not.toMatch(/NaN|undefined|Infinity/);
  expect(chart(results)).toMatch(/^<svg .*idempotency-kit.*<\/svg>\n$/s);
});
