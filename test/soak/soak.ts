/** One soak run: a process under mixed load, its store failing now and then, measured all the while and judged at the end. */
import { setTimeout as sleep } from "node:timers/promises";
import { between, randomFrom } from "../faults/campaign/random.js";
import { bundleServer } from "./bundle.js";
import { injectFaults } from "./faults.js";
import { leaksOf, type Run } from "./judge.js";
import { Clients, type Load, type Tally } from "./load.js";
import { startNodes, type Nodes } from "./nodes.js";
import type { Sample } from "./sample.js";
import { startService, type Service } from "./service.js";
import type { Leak, StoreName } from "./settings.js";

export interface SoakOptions {
  readonly store: StoreName;
  readonly durationMs: number;
  readonly seed: number;
  /** How often it is measured: each time stops the process for a collection. */
  readonly samples?: number;
  readonly leaks?: readonly Leak[];
  /** At most how long the process may take to be idle again. */
  readonly settleMs?: number;
  readonly onSample?: (sample: Sample) => void;
}

export interface SoakResult extends Run {
  readonly requests: number;
  readonly tally: Tally;
  readonly faults: number;
  /** What is wrong, a sentence each; empty where nothing is. */
  readonly violations: readonly string[];
}

const SAMPLES = 60;

/** Faults in a run. */
const FAULTS = 20;

/** As long as servers keep idle connections of a pool that is no longer used: 30 s, for DynamoDB Local. */
const SETTLE_MS = 60_000;
const POLL_MS = 250;

export async function soak(options: SoakOptions): Promise<SoakResult> {
  const { store, leaks = [], settleMs = SETTLE_MS } = options;
  const nodes = await startNodes(store);
  try {
    await using file = await bundleServer();
    await using service = await startService(file.path, { store, urls: nodes.urls, leaks });
    const before = await settled(service);
    const { load, samples, faults } = await underLoad(service, nodes, options);
    await service.drain();
    const after = await settled(service, before, settleMs);
    const run = { before, samples, after };
    const { requests, tally, wrong } = load;
    const violations = [...leaksOf(run), ...summaryOf(wrong), ...missingFrom(tally)];
    return { ...run, requests, tally, faults, violations };
  } finally {
    await nodes.close();
  }
}

async function underLoad(service: Service, nodes: Nodes, options: SoakOptions) {
  const { durationMs, seed } = options;
  const random = randomFrom(seed);
  const ending = new AbortController();
  const { signal } = ending;
  const loading = new Clients(service.port, random).run(signal);
  const faulting = injectFaults(nodes.links, durationMs / FAULTS, randomFrom(seed, 1), signal);
  const samples = await sampled(service, options).finally(() => ending.abort());
  const [load, faults]: [Load, number] = await Promise.all([loading, faulting]);
  return { load, faults, samples };
}

async function sampled(service: Service, options: SoakOptions): Promise<Sample[]> {
  const { durationMs, seed, samples: count = SAMPLES, onSample } = options;
  const everyMs = durationMs / count;
  const random = randomFrom(seed, 2);
  const samples: Sample[] = [];
  while (samples.length < count) {
    // Not in step with whatever the process does at regular times.
    await sleep(between(random, everyMs * 0.8, everyMs * 1.2));
    const sample = await service.sample();
    samples.push(sample);
    onSample?.(sample);
  }
  return samples;
}

/** The first sample with no more than `example` has, or the last there is time for; without one, with no more than the one before. */
async function settled(service: Service, example?: Sample, settleMs = SETTLE_MS): Promise<Sample> {
  const deadline = performance.now() + settleMs;
  let earlier = example;
  for (;;) {
    const sample = await service.sample();
    if (earlier !== undefined && noneMore(sample, earlier)) return sample;
    if (performance.now() > deadline) return sample;
    if (example === undefined) earlier = sample;
    // There is no event for a connection that its server will close.
    await sleep(POLL_MS);
  }
}

function noneMore({ counts }: Sample, example: Sample): boolean {
  return Object.entries(counts).every(([name, count]) => count <= (example.counts[name] ?? 0));
}

/** Wrong answers, each kind once. */
function summaryOf(wrong: readonly string[]): string[] {
  const kinds = new Map<string, number>();
  for (const one of wrong) kinds.set(one, (kinds.get(one) ?? 0) + 1);
  return [...kinds].map(([one, times]) => `Answered wrongly, ${times} times: ${one}.`);
}

/** A load in which something never happened proves nothing about it. */
function missingFrom(tally: Tally): string[] {
  const expected = ["201", "replayed", "400", "409", "413", "422", "429", "500", "hung up"];
  const missing = expected.filter((name) => !(name in tally));
  return missing.length === 0 ? [] : [`The load had none of: ${missing.join(", ")}.`];
}
