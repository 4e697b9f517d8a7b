/** Commands and round trips of one request, counted between the subject and its servers; and what distance costs. */
import { randomUUID } from "node:crypto";
import { startProxy, type FaultProxy } from "../../support/fault-proxy.js";
import type { Bench } from "../bench.js";
import { post } from "../requests.js";
import type { Addresses } from "../services.js";
import { wanted } from "../settings.js";
import { spread, type Spread } from "../statistics.js";
import { Subject } from "../subject.js";
import { GROUPS, subjectNamed, type SubjectSpec } from "../subjects.js";

export interface Trips {
  readonly subject: string;
  readonly fresh: Counted;
  readonly replay: Counted;
}

/** Per request. With several servers: round trips to the one that was asked most often, commands to all of them. */
interface Counted {
  readonly roundTrips: number;
  readonly commands: number;
}

/** Round trips to three masters, in milliseconds. */
export const DISTANCES_MS = [0, 40, 80] as const;

export interface Distance {
  readonly subject: string;
  readonly freshMs: Spread;
  readonly replayMs: Spread;
}

const COUNTED = 20;

export async function countTrips(bench: Bench): Promise<Trips[]> {
  const all: Trips[] = [];
  const specs = GROUPS.flatMap(({ subjects }) => subjects).filter(
    ({ store }, at, list) =>
      ["redis", "redlock", "dynamodb"].includes(store) &&
      list.findIndex(({ name }) => name === list[at]?.name) === at,
  );
  for (const spec of specs) {
    if (!wanted(bench.settings, "trips", spec.name, spec.store)) continue;
    bench.progress(`trips: ${spec.name}`);
    all.push(
      await behindProxies(bench, spec, async (subject, proxies) => {
        const keys = Array.from({ length: COUNTED }, () => randomUUID());
        return {
          subject: spec.name,
          fresh: await counted(subject, proxies, keys),
          replay: await counted(subject, proxies, keys),
        };
      }),
    );
  }
  return all;
}

/** Fresh and replayed requests with the masters 0, 40 and 80 ms away. */
export async function measureDistance(bench: Bench): Promise<Distance[]> {
  const all: Distance[] = [];
  for (const name of ["floor-masters", "kit-redlock"]) {
    if (!wanted(bench.settings, "distance", name, "redlock")) continue;
    bench.progress(`distance: ${name}`);
    all.push(
      await behindProxies(bench, subjectNamed(name), async (subject, proxies) => {
        for (const [node, proxy] of proxies.entries()) {
          const oneWayMs = (DISTANCES_MS[node] ?? 0) / 2;
          proxy.delay(oneWayMs, oneWayMs);
        }
        const keys = Array.from({ length: bench.settings.quick ? 5 : COUNTED }, () => randomUUID());
        const freshMs = await timed(subject, keys);
        // What a request leaves behind at the slowest master arrives before anybody asks for it again.
        return { subject: name, freshMs, replayMs: await timed(subject, keys) };
      }),
    );
  }
  return all;
}

async function behindProxies<T>(
  { services }: Bench,
  spec: SubjectSpec,
  measure: (subject: Subject, proxies: readonly FaultProxy[]) => Promise<T>,
): Promise<T> {
  const ports =
    spec.store === "dynamodb"
      ? [services.port("dynamodb")]
      : services.nodes(spec.store).map(({ port }) => port);
  const proxies = await Promise.all(ports.map((port) => startProxy(port)));
  try {
    await using subject = await Subject.start(spec, addressesOf(spec, proxies, services.addresses));
    // Scripts are loaded, connections made; and who answers before storing has stored.
    for (const key of ["warm", "warm", "warm"]) await post(subject.port, "/200", key);
    return await measure(subject, proxies);
  } finally {
    await Promise.all(proxies.map((proxy) => proxy.close()));
    await services.flush(spec.store);
  }
}

function addressesOf(
  { store }: SubjectSpec,
  proxies: readonly FaultProxy[],
  direct: Addresses,
): Addresses {
  const at = (scheme: string) => proxies.map(({ port }) => `${scheme}://127.0.0.1:${port}`);
  if (store === "dynamodb") return { ...direct, dynamodb: at("http")[0] };
  return store === "redis"
    ? { ...direct, redis: at("redis")[0] }
    : { ...direct, masters: at("redis") };
}

async function counted(
  subject: Subject,
  proxies: readonly FaultProxy[],
  keys: readonly string[],
): Promise<Counted> {
  for (const proxy of proxies) proxy.resetTraffic();
  for (const key of keys) await post(subject.port, "/200", key);
  const trips = proxies.map(({ traffic }) => traffic.roundTrips);
  const commands = proxies.flatMap(({ traffic }) => Object.values(traffic.requests));
  return {
    roundTrips: Math.max(...trips) / keys.length,
    commands: commands.reduce((sum, count) => sum + count, 0) / keys.length,
  };
}

async function timed({ port }: Subject, keys: readonly string[]): Promise<Spread> {
  const times: number[] = [];
  for (const key of keys) times.push((await post(port, "/200", key)).ms);
  return spread(times);
}
