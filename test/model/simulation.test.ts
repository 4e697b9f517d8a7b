/**
 * The real protocol and stores in a simulated world, for a fixed set of seeds: no promise is broken under any fault of
 * DESIGN section 7. Longer runs: `npm run simulate`.
 */
import { beforeAll, describe, expect, it } from "vitest";
import { bundle } from "./bundle.js";
import { simulate } from "./simulation.js";

let program: string;

beforeAll(async () => {
  program = await bundle("simulate.ts", "simulate");
});

describe("under every fault of the simulation the promises hold", () => {
  it.each([
    ["memory", 400, "pause", []],
    ["redis", 800, "kill", []],
    ["redlock", 600, "kill", []],
    ["redlock", 400, "loss", ["--amnesia"]],
    ["redlock5", 100, "kill", []],
    ["redlock5", 100, "loss", ["--amnesia"]],
  ])(
    "on %s, %d schedules, with every %s",
    async (store, seeds, fault, more) => {
      const totals = await simulate(program, "--store", store, "--seeds", String(seeds), ...more);
      expect(totals.violations).toEqual([]);
      expect(totals.schedules).toBe(seeds);
      // Not for want of anything happening.
      expect(totals.executions).toBeGreaterThan(seeds);
      expect(totals.results).toBeGreaterThan(seeds);
      expect(Object.keys(totals.faults)).toContain(fault);
    },
    120_000,
  );
});

describe("a seed says all", () => {
  it("twice the same run, to the last step", async () => {
    const run = () => simulate(program, "--store", "redlock", "--seeds", "50", "--workers", "1");
    const [once, again] = await Promise.all([run(), run()]);
    expect(again).toEqual(once);
  }, 60_000);
});

describe("what must be seen", () => {
  it("a store as naive as most kits' breaks promises at once", async () => {
    const { violations } = await simulate(program, "--store", "naive", "--seeds", "50");
    expect(violations.length).toBeGreaterThan(5);
  }, 60_000);

  it("a node that comes back without its data and votes on costs a quorum its agreement", async () => {
    const args = ["--store", "redlock", "--seeds", "2000", "--amnesia", "--quarantineMs", "0"];
    const { violations } = await simulate(program, ...args, "--first");
    expect(violations.join("\n")).toMatch(/ P1 /);
  }, 60_000);
});
