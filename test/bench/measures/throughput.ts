/** Requests per second, latency and CPU time, side by side: each round measures every subject of a group once. */
import { randomUUID } from "node:crypto";
import type { Bench } from "../bench.js";
import type { LoadResult, Target } from "../load.js";
import { post } from "../requests.js";
import { wanted } from "../settings.js";
import { Subject } from "../subject.js";
import { GROUPS, type Group, type SubjectSpec } from "../subjects.js";

export const SIZES = [200, 10_000, 200_000] as const;
export const CONNECTIONS = 32;
const MOST_WARM_UPS = 20;

type Kind = Target["kind"];

export interface Point {
  readonly kind: Kind;
  readonly size: number;
  readonly connections: number;
}

export interface Sample extends LoadResult {
  /** User and system time of the subject per request. */
  readonly cpuUs: number;
  /** Executed by the Redis servers per request, those inside of scripts included. */
  readonly commands: number;
  /** Fresh requests that did not run, or replays that did: then something else was measured than it says. */
  readonly wrong: number;
}

export interface Row extends Point {
  readonly group: string;
  readonly subject: string;
  /** One for each round. */
  readonly samples: readonly Sample[];
}

/** Every size at the usual load; the small one also with a single client, for the latency, and with many. */
const POINTS: readonly Omit<Point, "kind">[] = [
  ...SIZES.map((size) => ({ size, connections: CONNECTIONS })),
  { size: 200, connections: 1 },
  { size: 200, connections: 512 },
];

export async function measureThroughput(bench: Bench): Promise<Row[]> {
  const rows: Row[] = [];
  for (const group of GROUPS) {
    const names = group.subjects.map(({ name }) => name);
    if (wanted(bench.settings, "throughput", group.name, ...names)) {
      rows.push(...(await measureGroup(bench, group)));
    }
  }
  return rows;
}

/** A B C A B C, each time in a process of its own, so that neither a neighbour nor a lucky start decides. */
async function measureGroup(bench: Bench, group: Group): Promise<Row[]> {
  const rows = new Map<string, Row & { readonly samples: Sample[] }>();
  for (let round = 1; round <= bench.settings.rounds; round += 1) {
    for (const spec of group.subjects) {
      const label = `${group.name}, round ${round} of ${bench.settings.rounds}: ${spec.name}`;
      try {
        for await (const [point, sample] of measureSubject(bench, spec)) {
          bench.progress(`${label}, ${describe(point)}: ${Math.round(sample.perSecond)}/s`);
          const id = `${spec.name} ${describe(point)}`;
          const row = rows.get(id) ?? {
            group: group.name,
            subject: spec.name,
            ...point,
            samples: [],
          };
          rows.set(id, row);
          row.samples.push(sample);
        }
      } catch (error) {
        // A subject that breaks down under load is a result, too: the others go on.
        bench.failed(label, error);
      }
      await bench.services.flush(spec.store);
    }
  }
  return [...rows.values()];
}

async function* measureSubject(bench: Bench, spec: SubjectSpec): AsyncGenerator<[Point, Sample]> {
  await using subject = await Subject.start(spec, bench.services.addresses);
  await warmUp(bench, spec, subject);
  for (const place of POINTS) {
    for (const kind of kindsOf(spec)) {
      const point = { kind, ...place };
      yield [point, await take(bench, spec, subject, point, bench.settings.seconds)];
    }
  }
}

/** Without idempotency a replay is a request like any other. */
function kindsOf({ role }: SubjectSpec): readonly Kind[] {
  return role === "bare" ? ["fresh"] : ["fresh", "replay"];
}

export async function warmUp(bench: Bench, spec: SubjectSpec, subject: Subject): Promise<void> {
  const { warmUpSeconds, warmUpRequests } = bench.settings;
  const usual = { size: 200, connections: CONNECTIONS };
  for (const kind of kindsOf(spec)) {
    let requests = 0;
    do {
      const taken = await take(bench, spec, subject, { kind, ...usual }, warmUpSeconds);
      // A subject that answers nothing shall be measured all the same, and show it.
      requests += Math.max(taken.requests, warmUpRequests / MOST_WARM_UPS);
    } while (requests < warmUpRequests);
  }
}

/** Measures once, and checks by the handler's own count that fresh was fresh and replayed was replayed. */
export async function take(
  { services, load }: Pick<Bench, "services" | "load">,
  spec: SubjectSpec,
  subject: Subject,
  { kind, size, connections }: Point,
  seconds: number,
): Promise<Sample> {
  const key = randomUUID();
  const path = `/${size}`;
  if (kind === "replay") await untilReplayed(subject, path, key);
  const [commandsBefore, before] = [await services.commands(spec.store), await subject.usage()];
  const result = await load.run({ port: subject.port, path, kind, key, connections, seconds });
  const [after, commandsAfter] = [await subject.usage(), await services.commands(spec.store)];
  const runs = after.executions - before.executions;
  return {
    ...result,
    cpuUs: (after.cpuUs - before.cpuUs) / Math.max(1, result.requests),
    commands: (commandsAfter - commandsBefore) / Math.max(1, result.requests),
    wrong: kind === "replay" ? runs : Math.max(0, result.requests - runs),
  };
}

/** Some answer first and store afterwards. */
async function untilReplayed(subject: Subject, path: string, key: string): Promise<void> {
  for (let tries = 0; tries < 100; tries += 1) {
    const { executions } = await subject.usage();
    await post(subject.port, path, key);
    if ((await subject.usage()).executions === executions) return;
  }
  throw new Error(`${path} was never replayed.`);
}

export function describe({ kind, size, connections }: Point): string {
  return `${kind}, ${size} bytes, ${connections} connection${connections === 1 ? "" : "s"}`;
}
