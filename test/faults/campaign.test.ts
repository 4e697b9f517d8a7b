/**
 * A short campaign on each store, and on stores with flaws that must be caught: as in the field, but with few faults.
 * `npm run faults -- --store redlock --minutes 10` is the long one.
 */
import { describe, expect, it } from "vitest";
import { runCampaign, type CampaignOptions, type Totals } from "./campaign/campaign.js";
import { FLAWED_STORES } from "./campaign/flawed-stores.js";
import type { FaultKind } from "./campaign/plan.js";
import { describeViolations } from "./campaign/timeline.js";

/** Rounds begin on a machine that is busy with others. */
const TIMEOUT_MS = 240_000;

const SEED = 42;

async function campaign(options: CampaignOptions): Promise<Totals & { said: string }> {
  let said = "";
  const onRound: CampaignOptions["onRound"] = (result) => {
    if (result.violations.length > 0) said += describeViolations(result);
  };
  return { ...(await runCampaign({ ...options, onRound })), said };
}

describe.concurrent("promises hold while everything fails", { timeout: TIMEOUT_MS }, () => {
  it.each(["memory", "redis", "redlock"])("on the %s store", async (store) => {
    const total = await campaign({ store, seed: SEED, roundMs: 7_000, keysPerSecond: 10 });
    expect(total.said).toBe("");
    expect(total.violations).toBe(0);
    // A campaign in which nothing happened proves nothing.
    expect(total.faults).toBeGreaterThan(7);
    expect(total.executions).toBeGreaterThan(total.keys / 2);
    expect(total.requests).toBeGreaterThan(total.keys * 2);
  });
});

/** The faults under which each flaw shows. */
const UNDOING: Readonly<Record<string, readonly FaultKind[]>> = {
  naive: ["pause"],
  ownerless: ["pause"],
  overwriting: ["pause"],
  endless: ["kill"],
  hasty: ["node-kill", "node-pause", "partition"],
};

describe.concurrent("a flawed store is caught", { timeout: TIMEOUT_MS }, () => {
  const flawed = Object.entries(FLAWED_STORES).map(
    ([store, { flaw, breaks }]) => [store, flaw, breaks] as const,
  );

  it.each(flawed)("%s: %s, which breaks %s", async (store, _, breaks) => {
    const { broken } = await campaign({
      store,
      seed: SEED,
      kinds: UNDOING[store],
      roundMs: 5_000,
      keysPerSecond: 12,
      stageFaults: 0.05,
      // A stale holder comes back while its successor is at work.
      longHandlers: 0.5,
      // Most are caught in the first; what shows while a node is away has taken up to five.
      maxRounds: 10,
      isEnough: (total) => total.broken[breaks] !== undefined,
    });
    expect(Object.keys(broken)).toContain(breaks);
  });
});
