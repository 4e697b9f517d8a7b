/**
 * The simulation is tested: every mistake that is made on purpose is found, within as many seeds as are said here. Which
 * finds it is on the page, and another one wherever a store sends more, less or otherwise: then write it anew.
 */
import { readFileSync } from "node:fs";
import { describe, expect, it, test } from "vitest";
import { tableOf } from "../layout/readme.js";
import { bundle } from "./bundle.js";
import { MUTANTS } from "./mutants.js";
import { simulate } from "./simulation.js";
import { promiseIn, seedIn } from "./totals.js";

const MOST_SEEDS = 5_000;

/** By mistake: the first violation, and of those of one seed the first that the judge names. */
const found = new Map<string, string>();

describe("the simulation finds that", () => {
  it.concurrent.each(Object.entries(MUTANTS))(
    "%s",
    async (name, { store, ...mutation }) => {
      const program = await bundle("simulate.ts", name.replaceAll(/\W+/g, "-"), mutation);
      const seeds = ["--store", store, "--seeds", String(MOST_SEEDS), "--first"];
      const { violations } = await simulate(program, ...seeds);
      const [first = ""] = violations;
      console.log(`${name}: ${first}`);
      expect(seedIn(first)).toBeGreaterThan(0);
      found.set(name, first);
    },
    120_000,
  );
});

test("docs/guarantees.md says of each mistake the first seed and the promise, as `npm run docs` writes it", async () => {
  const rows = [...found]
    .toSorted(([a, one], [b, other]) => seedIn(one) - seedIn(other) || (a < b ? -1 : 1))
    .map(([name, first]) => [
      name,
      `\`${MUTANTS[name]?.store}\``,
      String(seedIn(first)),
      promiseIn(first),
    ]);
  const table = tableOf([["Mistake", "Store", "First seed", "Promise"], ...rows]);
  const page = readFileSync(new URL("../../docs/guarantees.md", import.meta.url), "utf8");

  await expect(page.replace(/^\| Mistake .*(?:\n\|.*)*/m, () => table)).toMatchFileSnapshot(
    "../../docs/guarantees.md",
  );
});
