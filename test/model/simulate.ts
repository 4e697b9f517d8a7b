/**
 * Runs schedules by their seeds, on all cores: `npm run simulate -- --store redlock --seeds 100000 --from 1`.
 * One seed with all that happens in it: `npm run simulate -- --store redlock --seed 42 --trace`.
 */
import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import { observeKit, runSchedule } from "./schedule.js";
import { add, NOTHING, sayTotals, totalsOf, type Totals } from "./totals.js";
import { installWorlds } from "./world.js";

/** Seeds that a worker gets at once: a fraction of a second's work, or less where the first violation ends it all. */
const BATCH = 200;
const SMALL_BATCH = 25;
const PROGRESS_MS = 5_000;

export interface Order {
  readonly store: string;
  readonly amnesia: boolean;
  readonly quarantineMs: number | undefined;
}

interface Batch {
  readonly from: number;
  readonly to: number;
}

if (!isMainThread) work(workerData as Order);
else await main();

function work(order: Order): void {
  // Half of a worker's time goes into stack traces that nobody reads.
  Error.stackTraceLimit = 0;
  installWorlds();
  observeKit();
  parentPort?.on("message", (batch: Batch) => {
    // eslint-disable-next-line unicorn/require-post-message-target-origin -- of windows, not of threads
    void totalsOfBatch(order, batch).then((totals) => parentPort?.postMessage(totals));
  });
}

async function totalsOfBatch(order: Order, { from, to }: Batch): Promise<Totals> {
  let totals = NOTHING;
  for (let seed = from; seed < to; seed += 1) {
    totals = add(totals, totalsOf(seed, await runSchedule(seed, order)));
  }
  return totals;
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      store: { type: "string", default: "redlock" },
      seeds: { type: "string", default: "100000" },
      from: { type: "string", default: "1" },
      seed: { type: "string" },
      amnesia: { type: "boolean", default: false },
      quarantineMs: { type: "string" },
      trace: { type: "boolean", default: false },
      workers: { type: "string", default: String(availableParallelism()) },
      json: { type: "boolean", default: false },
      /** Ends at the first violation. */
      first: { type: "boolean", default: false },
    },
  });
  const { store, amnesia, quarantineMs } = values;
  const order: Order = {
    store,
    amnesia,
    quarantineMs: quarantineMs === undefined ? undefined : Number(quarantineMs),
  };
  if (values.seed !== undefined) return await replay(order, Number(values.seed), values.trace);
  const from = Number(values.from);
  const totals = await runAll(order, from, from + Number(values.seeds), {
    workers: Number(values.workers),
    isQuiet: values.json,
    stopsAtFirst: values.first,
  });
  if (values.json) console.log(JSON.stringify(totals));
  process.exitCode = totals.violations.length > 0 ? 1 : 0;
}

async function replay(order: Order, seed: number, isTraced: boolean): Promise<void> {
  installWorlds();
  observeKit();
  const trace = isTraced ? (line: string) => console.log(line) : undefined;
  const report = await runSchedule(seed, { ...order, trace });
  console.log(sayTotals(totalsOf(seed, report)));
  process.exitCode = report.violations.length > 0 ? 1 : 0;
}

interface RunOptions {
  readonly workers: number;
  readonly isQuiet: boolean;
  readonly stopsAtFirst: boolean;
}

async function runAll(
  order: Order,
  from: number,
  to: number,
  { workers, isQuiet, stopsAtFirst }: RunOptions,
): Promise<Totals> {
  const startedAt = performance.now();
  const size = stopsAtFirst ? SMALL_BATCH : BATCH;
  let totals = NOTHING;
  let next = from;
  const report = (): void => {
    const seconds = (performance.now() - startedAt) / 1_000;
    console.log(
      `${seconds.toFixed(0)} s: ${sayTotals(totals)}, ${Math.round(totals.schedules / seconds)}/s`,
    );
  };
  const progress = isQuiet ? undefined : setInterval(report, PROGRESS_MS);
  const one = async (): Promise<void> => {
    const worker = new Worker(fileURLToPath(import.meta.url), { workerData: order });
    worker.setMaxListeners(0);
    for (;;) {
      const isOver = next >= to || (stopsAtFirst && totals.violations.length > 0);
      if (isOver) break;
      const batch: Batch = { from: next, to: Math.min(next + size, to) };
      next = batch.to;
      // eslint-disable-next-line unicorn/require-post-message-target-origin -- of windows, not of threads
      worker.postMessage(batch);
      const more = await nextMessage(worker);
      totals = add(totals, more);
    }
    await worker.terminate();
  };
  await Promise.all(Array.from({ length: workers }, one));
  clearInterval(progress);
  if (!isQuiet) report();
  return totals;
}

function nextMessage(worker: Worker): Promise<Totals> {
  return new Promise((resolve, reject) => {
    worker.once("message", resolve);
    worker.once("error", reject);
  });
}
