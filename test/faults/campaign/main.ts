/**
 * The fault campaign from the command line:
 *
 *     npm run faults -- --store redlock --minutes 10 --seed 42
 *     npm run faults -- --store redis,naive --minutes 1
 *
 * Several stores run one after another. `--faults kill,pause` restricts the faults, `--round 7` runs that round alone.
 */
import { parseArgs } from "node:util";
import { STORES } from "./arena.js";
import { kindsOf, runCampaign, type Totals } from "./campaign.js";
import { FLAWED_STORES } from "./flawed-stores.js";
import { FAULT_KINDS, type FaultKind } from "./plan.js";
import type { RoundResult } from "./round.js";
import { settableClocks } from "./skew.js";
import { describeViolations } from "./timeline.js";

const USAGE = `--store   one or more of ${[...STORES, ...Object.keys(FLAWED_STORES)].join(", ")}
--minutes how long for each store; without it one round
--seed    a number; without it another each time
--round   that round alone, to see it again
--faults  some of ${FAULT_KINDS.join(", ")}; without it, all that the store promises to stand
--amnesia the usual ones, and nodes that restart without their data
--round-seconds, --rate   how long a round has faults, and how many new keys come in a second`;

/** Enough to find out what went wrong; the rest is mostly the same. */
const MAX_DESCRIBED = 3;

const { values } = parseArgs({
  options: {
    store: { type: "string" },
    minutes: { type: "string" },
    seed: { type: "string" },
    round: { type: "string" },
    faults: { type: "string" },
    amnesia: { type: "boolean" },
    "round-seconds": { type: "string" },
    rate: { type: "string" },
  },
});

const stores = (values.store ?? "").split(",");
const kinds = values.faults?.split(",") as FaultKind[] | undefined;
const unknown = [
  ...stores.filter((store) => !STORES.includes(store) && !(store in FLAWED_STORES)),
  ...(kinds ?? []).filter((kind) => !FAULT_KINDS.includes(kind)),
];

if (unknown.length > 0) {
  console.error(`Unknown: ${unknown.join(", ")}\n${USAGE}`);
  process.exitCode = 1;
} else {
  await main();
  // A socket whose connection a dead node never took would keep the process for minutes.
  process.exit();
}

async function main(): Promise<void> {
  const seed = Number(values.seed ?? Math.floor(Math.random() * 2 ** 31));
  const tables: Totals[] = [];
  for (const store of stores) tables.push(await run(store, seed));
  console.log(table(tables));
  const sound = tables.filter((total) => !(total.store in FLAWED_STORES));
  if (sound.some(({ violations }) => violations > 0)) process.exitCode = 1;
}

async function run(store: string, seed: number): Promise<Totals> {
  console.log(`${store}, seed ${seed}`);
  const amnesiac = values.amnesia === true ? [...kindsOf(store), "amnesia" as const] : undefined;
  const chosen = kinds ?? amnesiac;
  if ((chosen ?? kindsOf(store)).includes("clock")) await warnWithoutClocks();
  let described = 0;
  const onRound = (result: RoundResult, total: Totals): void => {
    console.log(progress(total));
    if (result.violations.length === 0 || described === MAX_DESCRIBED) return;
    described += 1;
    console.log(describeViolations(result));
  };
  return await runCampaign({
    store,
    seed,
    ...(values.minutes === undefined ? {} : { minutes: Number(values.minutes) }),
    ...(values.round === undefined ? {} : { firstRound: Number(values.round), maxRounds: 1 }),
    ...(values["round-seconds"] && { roundMs: Number(values["round-seconds"]) * 1_000 }),
    ...(values.rate && { keysPerSecond: Number(values.rate) }),
    kinds: chosen,
    onRound,
  });
}

async function warnWithoutClocks(): Promise<void> {
  const { openWorkplace } = await import("./bundle.js");
  const workplace = await openWorkplace();
  const clocks = await settableClocks(workplace.folder);
  await workplace.remove();
  if (clocks === undefined) {
    console.warn(
      "No C compiler here: the clocks of nodes are left alone, those of servers are set.",
    );
  }
}

function progress(total: Totals): string {
  const { rounds, elapsedMs, requests, executions, faults, violations } = total;
  return (
    `${(elapsedMs / 1_000).toFixed(0)} s: round ${rounds}, ${requests} requests, ${executions} executions, ` +
    `${faults} faults, ${violations} violations`
  );
}

function table(all: readonly Totals[]): string {
  const head =
    "| store | seed | time | keys | requests | executions (again) | faults | forfeited | violations |";
  const rule = head.replaceAll(/[^|]+/g, " --- ");
  const rows = all.map((total) => {
    const { store, seed, elapsedMs, keys, requests, executions, again, faults, forfeited } = total;
    const { violations, broken, firstViolationMs } = total;
    const which = Object.entries(broken).map(([promise, count]) => `${promise} ${count}`);
    const first =
      firstViolationMs === undefined
        ? ""
        : `, first after ${Math.round(firstViolationMs / 1_000)} s`;
    const what = violations === 0 ? "0" : `${violations} (${which.join(", ")}${first})`;
    const time = `${Math.round(elapsedMs / 1_000)} s`;
    return `| ${[store, seed, time, keys, requests, `${executions} (${again})`, faults, forfeited, what].join(" | ")} |`;
  });
  return [head, rule, ...rows].join("\n");
}
