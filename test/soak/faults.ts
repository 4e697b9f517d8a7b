/** Now and then one node's network fails for a moment: store calls time out, connections are made anew. */
import { setTimeout as sleep } from "node:timers/promises";
import { between, oneOf, type Random } from "../faults/campaign/random.js";
import type { FaultProxy } from "../support/fault-proxy.js";

const FAULTS: readonly ((link: FaultProxy) => unknown)[] = [
  (link) => link.hang(),
  (link) => link.dropReplies(),
  (link) => link.delay(100),
  (link) => link.refuse(),
  (link) => link.reset(),
];

/** Longer than every limit of a store call. */
const LONGEST_FAULT_MS = 1_500;

/** Until the signal aborts; then everything is healed. Resolves to how many faults there were. */
export async function injectFaults(
  links: readonly FaultProxy[],
  everyMs: number,
  random: Random,
  signal: AbortSignal,
): Promise<number> {
  if (links.length === 0) return 0;
  for (let faults = 0; ; faults += 1) {
    if (!(await slept(between(random, everyMs / 2, everyMs * 1.5), signal))) return faults;
    const link = oneOf(random, links);
    await oneOf(random, FAULTS)(link);
    await slept(between(random, 200, LONGEST_FAULT_MS), signal);
    await link.heal();
  }
}

/** Whether it was not woken before. */
async function slept(ms: number, signal: AbortSignal): Promise<boolean> {
  return await sleep(ms, undefined, { signal }).then(
    () => true,
    () => false,
  );
}
