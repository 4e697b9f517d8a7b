/** A run as a page. Every figure is a median over the rounds, with the least and the greatest behind it. */
import { CONNECTIONS, describe, SIZES, type Row, type Sample } from "./measures/throughput.js";
import type { Results } from "./results.js";
import { spread } from "./statistics.js";
import { GROUPS, subjectNamed, type Group, type SubjectSpec } from "./subjects.js";
import { find, perSecond, show, spreadOf, targets } from "./targets.js";

type Cells = readonly (string | number)[];

export function report(results: Results): string {
  return [
    conditionsOf(results),
    "![Requests per second](performance.svg)",
    section("Targets", targetTable(results)),
    ...GROUPS.map((group) => section(group.title, groupTables(results, group))),
    section("Round trips and commands of one request", tripTable(results)),
    section("Distance", distanceTable(results)),
    section("Connections", connectionTable(results)),
    section("Stored keys", growthTable(results)),
    section("Memory, heartbeats", footprintTable(results)),
    section("DynamoDB's units", unitTable(results)),
    section("A Lambda handler on DynamoDB", bundleTable(results)),
    troubles(results),
  ]
    .filter((part) => part !== "")
    .join("\n\n");
}

function conditionsOf({ conditions, load, rounds, seconds, quick, minutes }: Results): string {
  const { date, node, cpu, cores, pinned, memoryGiB, loadBefore } = conditions;
  const provisional = quick || rounds < 5 || loadBefore > 0.5;
  const cores_ = pinned ? "the subject on one core, load and servers on the others" : "not pinned";
  return [
    provisional
      ? "**Provisional figures**: of a short run, or of a machine that had other things to do. They show what is measured, not how fast it is."
      : "",
    `Measured on ${date.slice(0, 10)} in ${minutes} minutes: Node ${node.slice(1)}, ${cpu}, ${cores} cores (${cores_}), ` +
      `${memoryGiB} GiB, load average ${loadBefore} before; ${load} with ${CONNECTIONS} connections where nothing else is said; ` +
      `${rounds} round${rounds === 1 ? "" : "s"} of ${seconds} s for each figure, the subjects taking turns. ` +
      "A figure is the median of the rounds (least–greatest). All on loopback: distance is measured apart.",
  ]
    .filter(Boolean)
    .join("\n\n");
}

function targetTable(results: Results): string {
  const rows = targets(results).map(({ what, wanted, measured, met }) => [
    what,
    wanted,
    measured,
    met ? "met" : "**missed**",
  ]);
  return table(["Figure", "Target", "Measured", ""], rows);
}

function groupTables(results: Results, group: Group): string {
  const subjects = group.subjects.filter(({ name }) =>
    results.throughput.some((row) => row.group === group.name && row.subject === name),
  );
  if (subjects.length === 0) return "";
  const sizes = SIZES.map((size) => `${size.toLocaleString("en")} B`);
  const speeds = (["fresh", "replay"] as const).map((kind) =>
    table(
      [`Requests per second, ${kind}`, ...sizes],
      subjects.map(({ name, title }) => [
        title,
        ...SIZES.map((size) => rate(find(results, [group.name, name, kind], size))),
      ]),
    ),
  );
  const costs = table(
    [
      "At 200 B",
      "added p50 / p99 of a fresh request, ms",
      "of a replay",
      "CPU µs, fresh",
      "replay",
      "executed by Redis, fresh",
      "replay",
    ],
    subjects.map((spec) => costRow(results, group, spec)),
  );
  return [...speeds, costs].join("\n\n");
}

function costRow(results: Results, group: Group, { name, title, store, role }: SubjectSpec): Cells {
  const bareName = group.name === "express" ? "bare-express" : "bare";
  // Where a group has no bare handler of its own, that of the plain ones.
  const home = group.subjects.some((spec) => spec.name === bareName) ? group.name : "redis";
  const bare = find(results, [home, bareName, "fresh"], 200, 1);
  const row = (kind: Row["kind"], connections = CONNECTIONS) =>
    find(results, [group.name, name, kind], 200, connections);
  const cpu = (kind: Row["kind"]): string => figure(row(kind), (sample) => sample.cpuUs, 0);
  const commands = (kind: Row["kind"]): string =>
    store === "redis" || store === "redlock"
      ? figure(row(kind), (sample) => sample.commands, 2, false)
      : "";
  const added = (kind: Row["kind"]): string =>
    role === "bare" ? "" : addedLatency(row(kind, 1), bare);
  return [
    title,
    added("fresh"),
    added("replay"),
    cpu("fresh"),
    cpu("replay"),
    commands("fresh"),
    commands("replay"),
  ];
}

/** With one connection, so that nothing waits for anything but itself. */
function addedLatency(row: Row | undefined, bare: Row | undefined): string {
  if (row === undefined || bare === undefined) return "";
  const added = (of: (sample: Sample) => number): string => {
    const over = spread(row.samples.map(of)).median - spread(bare.samples.map(of)).median;
    return over.toFixed(2);
  };
  return `${added(({ p50Ms }) => p50Ms)} / ${added(({ p99Ms }) => p99Ms)}`;
}

function tripTable({ trips }: Results): string {
  return table(
    ["Subject", "Round trips, fresh", "replay", "Commands or calls sent, fresh", "replay"],
    trips.map(({ subject, fresh, replay }) => [
      subject,
      fresh.roundTrips,
      replay.roundTrips,
      fresh.commands,
      replay.commands,
    ]),
  );
}

function distanceTable({ distances }: Results): string {
  if (distances.length === 0) return "";
  const rows = distances.map(({ subject, freshMs, replayMs }) => [
    subject,
    show(freshMs, 1),
    show(replayMs, 1),
  ]);
  const text = "Three masters, 0, 40 and 80 ms away (there and back). One request after the other.";
  return `${text}\n\n${table(["Subject", "Fresh, ms", "Replay, ms"], rows)}`;
}

function connectionTable(results: Results): string {
  const names = ["bare", "kit-memory", "kit-redis", "kit-redlock", "kit-dynamodb"];
  const rows = names.flatMap((name) => {
    const group = GROUPS.find(({ subjects }) => subjects.some((spec) => spec.name === name))?.name;
    return (["fresh", "replay"] as const).flatMap((kind) => {
      const all = [1, CONNECTIONS, 512].map((connections) =>
        find(results, [group ?? "", name, kind], 200, connections),
      );
      return all.some(Boolean) ? [[`${name}, ${kind}`, ...all.map((row) => rate(row))]] : [];
    });
  });
  return table(["Requests per second, 200 B", "1 connection", `${CONNECTIONS}`, "512"], rows);
}

function growthTable({ growth }: Results): string {
  const rows = growth.map(({ subject, keys, fresh, replay }) => [
    subject,
    keys.toLocaleString("en"),
    show(spread(perSecond(fresh)), 0),
    show(spread(perSecond(replay)), 0),
  ]);
  const text = table(["Subject", "Keys stored", "Requests per second, fresh", "replay"], rows);
  if (text === "") return "";
  return `${text}\n\nDynamoDB Local takes too long to fill for a million.`;
}

function footprintTable({ footprint }: Results): string {
  const { perKeyBytes, inFlight, heartbeats } = footprint;
  const rows: Cells[] = [];
  if (perKeyBytes !== undefined) {
    rows.push(["memory store, one stored response of 200 B", `${Math.round(perKeyBytes)} B`]);
  }
  for (const { subject, requests, usedBytes, rssBytes } of inFlight) {
    const mebibytes = (bytes: number): string => ((bytes * 10_000) / 2 ** 20).toFixed(0);
    rows.push([
      `10,000 requests in flight, ${subject}${requests === 10_000 ? "" : ` (from ${requests})`}`,
      `${mebibytes(usedBytes)} MiB in use, ${mebibytes(rssBytes)} MiB resident`,
    ]);
  }
  if (heartbeats !== undefined) {
    const { requests, cpuPercent, commandsPerSecond } = heartbeats;
    rows.push([
      `renewing ${requests.toLocaleString("en")} leases of 10 s on Redis`,
      `${cpuPercent.toFixed(1)} % of a core, ${commandsPerSecond.toFixed(0)} commands executed per second`,
    ]);
  }
  return table(["What", "Cost"], rows);
}

function unitTable({ footprint: { units } }: Results): string {
  const rows = units.map(({ subject, size, fresh, replay }) => [
    subject,
    `${size.toLocaleString("en")} B`,
    fresh.units,
    fresh.calls,
    replay.units,
    replay.calls,
  ]);
  const text = table(["Subject", "Body", "Units, fresh", "calls", "Units, replay", "calls"], rows);
  if (text === "") return "";
  const caveat =
    "As DynamoDB Local counts: read and write units together, and nothing for a write whose condition failed, " +
    "which AWS bills like any other, by the size of the item that is there. A replay is such a write.";
  return `${text}\n\n${caveat}`;
}

function bundleTable({ bundles }: Results): string {
  const kilobytes = (bytes: number): string => `${(bytes / 1000).toFixed(0)} kB`;
  return table(
    ["Handler", "Bundle", "gzip", "Import, ms"],
    bundles.map(({ subject, bytes, gzipBytes, importMs }) => [
      subject,
      kilobytes(bytes),
      kilobytes(gzipBytes),
      show(importMs, 0),
    ]),
  );
}

/** Whatever makes a figure doubtful is said, not left out. */
function troubles({ throughput, failures }: Results): string {
  const lines = throughput.flatMap((row) => {
    const errors = total(row, (sample) => sample.errors);
    const wrong = total(row, (sample) => sample.wrong);
    if (errors + wrong === 0) return [];
    const what = row.kind === "replay" ? "replays that executed" : "fresh requests that did not";
    const { title } = subjectNamed(row.subject);
    const requests = total(row, (sample) => sample.requests);
    return [
      `- ${title} (${row.subject}), ${describe(row)}: of ${requests} requests ${errors} failed; ${wrong} ${what}.`,
    ];
  });
  const all = [...failures.map((failure) => `- ${failure}`), ...lines];
  return all.length === 0 ? "" : section("What went wrong meanwhile", all.join("\n"));
}

function total({ samples }: Row, of: (sample: Sample) => number): number {
  return samples.reduce((sum, sample) => sum + of(sample), 0);
}

function rate(row: Row | undefined): string {
  return figure(row, (sample) => sample.perSecond, 0);
}

function figure(
  row: Row | undefined,
  of: (sample: Sample) => number,
  digits: number,
  withSpread = true,
): string {
  const found = spreadOf(row, of);
  if (found === undefined) return "";
  return withSpread ? show(found, digits) : found.median.toFixed(digits);
}

function section(title: string, body: string): string {
  return body === "" ? "" : `## ${title}\n\n${body}`;
}

function table(head: readonly string[], rows: readonly Cells[]): string {
  if (rows.length === 0) return "";
  const line = (cells: Cells): string => `| ${cells.join(" | ")} |`;
  return [line(head), line(head.map(() => "---")), ...rows.map((cells) => line(cells))].join("\n");
}
