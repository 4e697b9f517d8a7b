/** The simulation is tested: every mistake that is made on purpose is found, within as many seeds as are said here. */
import { describe, expect, it } from "vitest";
import { bundle } from "./bundle.js";
import { MUTANTS } from "./mutants.js";
import { simulate } from "./simulation.js";
import { seedIn } from "./totals.js";

const MOST_SEEDS = 5_000;

describe("the simulation finds that", () => {
  it.concurrent.each(Object.entries(MUTANTS))(
    "%s",
    async (name, { store, ...mutation }) => {
      const program = await bundle("simulate.ts", name.replaceAll(/\W+/g, "-"), mutation);
      const seeds = ["--store", store, "--seeds", String(MOST_SEEDS), "--first"];
      const { violations } = await simulate(program, ...seeds);
      console.log(`${name}: ${violations[0]}`);
      expect(seedIn(violations[0] ?? "")).toBeGreaterThan(0);
    },
    120_000,
  );
});
