/** Memory per stored key and per request in flight, what renewing a thousand leases costs, and DynamoDB's units. */
import { request, type ClientRequest } from "node:http";
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import type { Bench } from "../bench.js";
import { headersFor, ORDER } from "../load.js";
import { post } from "../requests.js";
import { wanted } from "../settings.js";
import { Subject, type Memory } from "../subject.js";
import { subjectNamed } from "../subjects.js";

export interface InFlight {
  readonly subject: string;
  readonly requests: number;
  /** More than with none in flight, per request. */
  readonly usedBytes: number;
  readonly rssBytes: number;
}

export interface Heartbeats {
  readonly requests: number;
  readonly seconds: number;
  /** Of one core, in the subject, over all requests. */
  readonly cpuPercent: number;
  readonly commandsPerSecond: number;
}

export interface Units {
  readonly subject: string;
  readonly size: number;
  readonly fresh: UnitsPerRequest;
  readonly replay: UnitsPerRequest;
}

interface UnitsPerRequest {
  readonly units: number;
  readonly calls: number;
}

export interface Footprint {
  /** What a small record takes in the memory store, in bytes. */
  readonly perKeyBytes?: number;
  readonly inFlight: readonly InFlight[];
  readonly heartbeats?: Heartbeats;
  readonly units: readonly Units[];
}

const KEYS = 100_000;
const LONG_REQUESTS = 1_000;
/** Two renewals of the default lease of 10 s, and a little more. */
const HELD_SECONDS = 7;
const UNIT_REQUESTS = 10;

export async function measureFootprint(bench: Bench): Promise<Footprint> {
  const { settings } = bench;
  const perKeyBytes = wanted(settings, "footprint", "memory") ? await perKey(bench) : undefined;
  const heartbeats = wanted(settings, "footprint", "heartbeat") ? await beat(bench) : undefined;
  const inFlight: InFlight[] = [];
  for (const name of ["bare", "kit-memory", "kit-redis"]) {
    if (wanted(settings, "footprint", "flight")) inFlight.push(await hold(bench, name));
  }
  return {
    ...(perKeyBytes !== undefined && { perKeyBytes }),
    ...(heartbeats !== undefined && { heartbeats }),
    inFlight,
    units: wanted(settings, "footprint", "units", "dynamodb") ? await countUnits(bench) : [],
  };
}

async function perKey({ services, progress }: Bench): Promise<number> {
  progress(`footprint: ${KEYS} keys in memory`);
  await using subject = await Subject.start(subjectNamed("kit-memory"), services.addresses);
  // What is compiled and pooled on the way is no key's.
  await subject.ask("fill", { from: 0, to: 10_000 });
  const before = await subject.memory();
  await subject.ask("fill", { from: 10_000, to: 10_000 + KEYS });
  const after = await subject.memory();
  return (after.usedBytes - before.usedBytes) / KEYS;
}

async function hold({ services, progress, settings }: Bench, name: string): Promise<InFlight> {
  // One file descriptor each, here and there.
  const requests = settings.quick ? 1_000 : 10_000;
  progress(`footprint: ${requests} requests in flight, ${name}`);
  const spec = subjectNamed(name);
  await using subject = await Subject.start(spec, services.addresses);
  await post(subject.port, "/200", randomUUID());
  const before = await subject.memory();
  await using _ = await holdRequests(subject, requests);
  const after = await subject.memory();
  const per = (figure: keyof Memory): number => (after[figure] - before[figure]) / requests;
  return { subject: name, requests, usedBytes: per("usedBytes"), rssBytes: per("rssBytes") };
}

async function beat({ services, progress }: Bench): Promise<Heartbeats> {
  progress(`footprint: heartbeats of ${LONG_REQUESTS} long requests`);
  const spec = subjectNamed("kit-redis");
  await using subject = await Subject.start(spec, services.addresses);
  await using _ = await holdRequests(subject, LONG_REQUESTS);
  const [commandsBefore, before] = [await services.commands(spec.store), await subject.usage()];
  const startedAt = performance.now();
  await sleep(HELD_SECONDS * 1000);
  const [after, commandsAfter] = [await subject.usage(), await services.commands(spec.store)];
  const seconds = (performance.now() - startedAt) / 1000;
  return {
    requests: LONG_REQUESTS,
    seconds,
    cpuPercent: (after.cpuUs - before.cpuUs) / 1e4 / seconds,
    commandsPerSecond: (commandsAfter - commandsBefore) / seconds,
  };
}

/** Opens requests that are answered when it ends; resolves when the handler runs for all of them. */
async function holdRequests(subject: Subject, count: number): Promise<AsyncDisposable> {
  const { executions } = await subject.usage();
  const open: ClientRequest[] = [];
  const failures: unknown[] = [];
  const headers = { ...headersFor(""), "Content-Length": `${ORDER.length}` };
  for (let at = 0; at < count; at += 1) {
    const sent = request({
      port: subject.port,
      host: "127.0.0.1",
      method: "POST",
      path: "/held",
      headers: { ...headers, "Idempotency-Key": randomUUID() },
      agent: false,
    });
    sent.on("error", (error) => failures.push(error));
    sent.end(ORDER);
    open.push(sent);
    // A backlog that overflows makes connections wait for seconds.
    if (at % 500 === 499) await sleep(50);
  }
  while ((await subject.usage()).executions - executions < count) {
    if (failures.length > 0)
      throw new Error("A request could not be held.", { cause: failures[0] });
    await sleep(20);
  }
  return {
    async [Symbol.asyncDispose]() {
      // Not events.once(): it rejects, and that a connection broke is what is meant to happen here.
      const closed = open.map((sent) => new Promise((resolve) => sent.once("close", resolve)));
      await subject.ask("release");
      for (const sent of open) sent.destroy();
      await Promise.all(closed);
    },
  };
}

async function countUnits(bench: Bench): Promise<Units[]> {
  const all: Units[] = [];
  for (const name of ["floor-dynamodb", "kit-dynamodb", "peer-powertools-dynamodb"]) {
    bench.progress(`footprint: DynamoDB's units, ${name}`);
    const env = { BENCH_COUNT_UNITS: "1" };
    await using subject = await Subject.start(subjectNamed(name), bench.services.addresses, env);
    for (const size of [200, 10_000, 200_000]) {
      const keys = Array.from({ length: UNIT_REQUESTS }, () => randomUUID());
      const fresh = await unitsOf(subject, size, keys);
      all.push({ subject: name, size, fresh, replay: await unitsOf(subject, size, keys) });
    }
  }
  return all;
}

async function unitsOf(
  subject: Subject,
  size: number,
  keys: readonly string[],
): Promise<UnitsPerRequest> {
  const count = () => subject.ask<{ units: number; requests: number }>("units");
  const before = await count();
  for (const key of keys) await post(subject.port, `/${size}`, key);
  const after = await count();
  return {
    units: (after.units - before.units) / keys.length,
    calls: (after.requests - before.requests) / keys.length,
  };
}
