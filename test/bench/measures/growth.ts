/** The same load beside ever more stored keys: flat where it should be flat. */
import { setTimeout as sleep } from "node:timers/promises";
import type { Bench } from "../bench.js";
import { wanted } from "../settings.js";
import { Subject } from "../subject.js";
import { subjectNamed, type SubjectSpec } from "../subjects.js";
import { CONNECTIONS, take, warmUp, type Sample } from "./throughput.js";

export interface Growth {
  readonly subject: string;
  readonly keys: number;
  readonly fresh: readonly Sample[];
  readonly replay: readonly Sample[];
}

const KEYS = [1e2, 1e4, 1e6] as const;
const QUICK_KEYS = [1e2, 1e4] as const;

/** DynamoDB Local takes a quarter of an hour for a million: there, the service's own promise has to do. */
const MOST_IN_DYNAMODB = 1e4;

/** So many at a time: a subject, or a server, would be silent for long otherwise. */
const BATCH = 10_000;

/** Filling takes most of the time, and what grows with the number of keys shows in three. */
const MOST_ROUNDS = 3;

export async function measureGrowth(bench: Bench): Promise<Growth[]> {
  const all: Growth[] = [];
  for (const name of ["kit-memory", "kit-redis", "kit-redlock", "kit-dynamodb"]) {
    const spec = subjectNamed(name);
    if (wanted(bench.settings, "growth", name, spec.store)) all.push(...(await grow(bench, spec)));
  }
  return all;
}

async function grow(bench: Bench, spec: SubjectSpec): Promise<Growth[]> {
  const { settings, services } = bench;
  const counts = (settings.quick ? QUICK_KEYS : KEYS).filter(
    (keys) => spec.store !== "dynamodb" || keys <= MOST_IN_DYNAMODB,
  );
  const all: Growth[] = [];
  for (const keys of counts) {
    bench.progress(`growth: ${spec.name} beside ${keys} keys`);
    const fresh: Sample[] = [];
    const replay: Sample[] = [];
    for (let round = 0; round < Math.min(settings.rounds, MOST_ROUNDS); round += 1) {
      await using subject = await Subject.start(spec, services.addresses);
      const load = (kind: "fresh" | "replay", seconds: number): Promise<Sample> =>
        take(bench, spec, subject, { kind, size: 200, connections: CONNECTIONS }, seconds);
      await warmUp(bench, spec, subject);
      // Their last requests are on their way, though nobody waits for them.
      await sleep(200);
      await services.flush(spec.store);
      await fill(bench, spec, subject, keys);
      // Replays first: they add no key.
      replay.push(await load("replay", settings.seconds));
      fresh.push(await load("fresh", settings.seconds));
      await services.flush(spec.store);
    }
    all.push({ subject: spec.name, keys, fresh, replay });
  }
  return all;
}

async function fill(
  { services }: Bench,
  { store }: SubjectSpec,
  subject: Subject,
  keys: number,
): Promise<void> {
  if (store !== "redis" && store !== "redlock") {
    for (let from = 0; from < keys; from += BATCH) {
      await subject.ask("fill", { from, to: Math.min(from + BATCH, keys) });
    }
    return;
  }
  // One record as the kit writes it, and copies of it made by the server.
  await subject.ask("fill", { from: 0, to: 1 });
  for (const node of services.nodes(store)) {
    for (let from = 1; from < keys; from += BATCH) {
      const last = Math.min(from + BATCH, keys) - 1;
      await node.command("EVAL", COPY, "1", "idempotency:filled-0", `${from}`, `${last}`);
    }
  }
}

const COPY = `
local record = redis.call('GET', KEYS[1])
for at = ARGV[1], ARGV[2] do redis.call('SET', 'idempotency:copy-' .. at, record, 'PX', 86400000) end
`;
