/**
 * The soak run from the command line:
 *
 *     npm run soak -- --store redis --minutes 5
 *
 * Several stores run one after another. It ends with 1 where anything leaks, or anybody is answered wrongly. The seed draws what
 * happens; how it interleaves is not repeated.
 */
import { parseArgs } from "node:util";
import { mib, thirdsOf } from "./judge.js";
import type { Sample } from "./sample.js";
import { STORES, type StoreName } from "./settings.js";
import { soak, type SoakResult } from "./soak.js";

const USAGE = `--store   one or more of ${STORES.join(", ")}
--minutes how long for each store; without it five
--seed    a number; without it another each time`;

const { values } = parseArgs({
  options: { store: { type: "string" }, minutes: { type: "string" }, seed: { type: "string" } },
});

const stores = (values.store ?? "").split(",") as StoreName[];
const durationMs = Number(values.minutes ?? 5) * 60_000;
const seed = Number(values.seed ?? Math.floor(Math.random() * 2 ** 31));
const unknown = stores.filter((store) => !STORES.includes(store));

if (unknown.length > 0 || !(durationMs > 0) || !Number.isInteger(seed)) {
  console.error(USAGE);
  process.exitCode = 1;
} else {
  for (const store of stores) await run(store);
}

async function run(store: StoreName): Promise<void> {
  console.log(`${store}, seed ${seed}`);
  const result = await soak({ store, durationMs, seed, onSample: (one) => console.log(line(one)) });
  console.log(summary(store, result));
  if (result.violations.length > 0) process.exitCode = 1;
}

function line({ atMs, requests, heapBytes, rssBytes, counts }: Sample): string {
  const { timers = 0, connections = 0, TCPSocketWrap = 0 } = counts;
  return (
    `${(atMs / 1_000).toFixed(0)} s: ${requests} requests, heap ${mib(heapBytes)}, resident ${mib(rssBytes)}, ` +
    `${timers} timers, ${connections} connections of clients, ${TCPSocketWrap} sockets in all`
  );
}

function summary(store: StoreName, result: SoakResult): string {
  const { before, after, requests, samples, faults, tally, violations } = result;
  const [heap, rss] = [thirdsOf(result, "heapBytes"), thirdsOf(result, "rssBytes")];
  return [
    `${store}: ${requests} requests, ${samples.length} samples, ${faults} faults`,
    `answers: ${Object.entries(tally)
      .map(([name, count]) => `${name} ${count}`)
      .join(", ")}`,
    `heap, median of the first third ${mib(heap.first)}, of the last ${mib(heap.last)}`,
    `resident, median of the first third ${mib(rss.first)}, of the last ${mib(rss.last)}`,
    `before the load: ${countsOf(before)}`,
    `after it: ${countsOf(after)}`,
    ...violations,
    violations.length === 0 ? "Nothing leaks." : `${violations.length} violations.`,
  ].join("\n");
}

function countsOf({ counts }: Sample): string {
  return Object.entries(counts)
    .map(([name, count]) => `${name} ${count}`)
    .join(", ");
}
