/**
 * Makes mistakes in the sources, one at a time, and sees whether a test fails:
 *
 *     npm run mutate
 *     npm run mutate -- stores/redlock/decisions.ts stores/memory
 *
 * Paths restrict it to files that begin so. `--fresh` forgets earlier results, `--workers` says how many mutants at once, 0 for
 * what is known already.
 * It ends with 1 where a mistake is found by no test and explained nowhere.
 */
import { execFileSync } from "node:child_process";
import { readFile, rm, writeFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { nameOf } from "./mutant.js";
import { mutate } from "./mutate.js";
import { FILES, mutantsOf } from "./plan.js";
import { PAGE, page, summary, type Tally } from "./report.js";
import { Results } from "./results.js";

const RESULTS = "docs/mutation.jsonl";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { fresh: { type: "boolean" }, workers: { type: "string", default: "2" } },
});

const isChosen = (file: string): boolean =>
  positionals.length === 0 || positionals.some((path) => file.startsWith(path));

if (values.fresh === true) await rm(RESULTS, { force: true });
const results = await Results.open(RESULTS);
const tallies: Tally[] = await mutate(FILES.filter(isChosen), results, Number(values.workers));
const mutants = await Promise.all(
  FILES.map(async (file) => mutantsOf(file, await readFile(file, "utf8"))),
);
await results.tidy(new Set(mutants.flat().map(nameOf)));
const { text, failed } = summary(tallies);
console.log(text);
// Of a part, there is no page.
if (positionals.length === 0) {
  const commit = execFileSync("git", ["rev-parse", "--short", "HEAD"], { encoding: "utf8" });
  await writeFile(PAGE, page(await readFile(PAGE, "utf8"), commit.trim(), tallies));
}
if (failed) process.exitCode = 1;
