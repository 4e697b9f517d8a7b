/** Tries every mutant: several at once, each in a copy of the project of its own. Without workers, tells what is known. */
import { readFile } from "node:fs/promises";
import { nameOf, type Mutant } from "./mutant.js";
import { isSteady, mutantsOf, stagesOf, type Stages } from "./plan.js";
import type { Tally } from "./report.js";
import type { Results } from "./results.js";
import { runTests, TIME_LIMIT, type Failure, type Verdict } from "./tests.js";
import { Tree } from "./tree.js";

/** No stage takes longer where nothing is wrong. */
const LONGEST_STAGE_MS = 600_000;
/** How often longer it may take where something is: machines are busy. */
const PATIENCE = 3;
const LEAST_LIMIT_MS = 30_000;

interface Bench {
  readonly trees: readonly Tree[];
  readonly results: Results;
  /** By stage. */
  readonly limitsMs: Map<string, number>;
}

export async function mutate(
  files: readonly string[],
  results: Results,
  workers: number,
): Promise<Tally[]> {
  const trees = await Promise.all(Array.from({ length: workers }, () => Tree.copy()));
  const bench = { trees, results, limitsMs: new Map<string, number>() };
  try {
    const tallies: Tally[] = [];
    for (const file of files) tallies.push(await tryAll(file, bench));
    return tallies;
  } finally {
    await Promise.all(trees.map((tree) => tree.remove()));
  }
}

async function tryAll(file: string, bench: Bench): Promise<Tally> {
  const source = await readFile(file, "utf8");
  const mutants = mutantsOf(file, source);
  const known = await Promise.all(mutants.map((mutant) => bench.results.of(mutant)));
  if (known.includes(undefined)) await learnLimits(stagesOf(file), bench);
  const results = [...known];
  const queue = mutants.entries();
  const work = async (tree: Tree): Promise<void> => {
    for (const [at, mutant] of queue) {
      const result = known[at] ?? (await tryOne(mutant, source, tree, bench));
      results[at] = result;
      if (known[at] === undefined || result.outcome === "survived") {
        console.log(`${at + 1}/${mutants.length} ${result.outcome} ${nameOf(mutant)}`);
      }
    }
  };
  await Promise.all(bench.trees.map(work));
  return { file, results };
}

/** How long the tests take where nothing is wrong: so they are also seen to pass. */
async function learnLimits(stages: Stages, { trees: [tree], limitsMs }: Bench): Promise<void> {
  for (const stage of stages) {
    if (tree === undefined || limitsMs.has(stage.join())) continue;
    const start = performance.now();
    const verdict = await confirmed(tree, stage, LONGEST_STAGE_MS);
    if (!verdict.passed) throw new Error(`Without any mistake, this fails: ${verdict.by}`);
    const tookMs = performance.now() - start;
    limitsMs.set(stage.join(), LEAST_LIMIT_MS + PATIENCE * tookMs);
    console.log(`${stage.join(" ")} pass in ${Math.round(tookMs / 1_000)} s`);
  }
}

async function tryOne(mutant: Mutant, source: string, tree: Tree, { results, limitsMs }: Bench) {
  const stages = stagesOf(mutant.file);
  await tree.write(mutant.file, mutant.text);
  const verdict = await firstFailure(tree, stages, limitsMs);
  await tree.write(mutant.file, source);
  return verdict.passed
    ? await results.add(mutant, { outcome: "survived" }, stages.flat(), tree.root)
    : await results.add(mutant, outcomeOf(verdict), [], tree.root);
}

async function firstFailure(
  tree: Tree,
  stages: Stages,
  limitsMs: Bench["limitsMs"],
): Promise<Verdict> {
  for (const stage of stages) {
    const verdict = await confirmed(tree, stage, limitsMs.get(stage.join()) ?? 0);
    if (!verdict.passed) return verdict;
  }
  return { passed: true };
}

/** Real servers under load can fail a test that is right: what fails there must fail twice. */
async function confirmed(
  { root }: Tree,
  stage: readonly string[],
  limitMs: number,
): Promise<Verdict> {
  for (;;) {
    const verdict = await runTests(root, stage, limitMs);
    if (verdict.passed || !verdict.isTest || verdict.files.every(isSteady)) return verdict;
    const again = await runTests(root, verdict.files, limitMs, verdict.by);
    if (!again.passed) return verdict;
    console.log(`Failed only once: ${verdict.by}`);
  }
}

function outcomeOf({ by }: Failure): {
  outcome: "killed" | "hung";
  by: string;
} {
  return { outcome: by === TIME_LIMIT ? "hung" : "killed", by };
}
