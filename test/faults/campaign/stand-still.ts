import { setTimeout as sleep } from "node:timers/promises";

export interface Stoppable {
  /** SIGSTOP; waits until it has stopped, which never comes about where somebody else lets it go on. */
  stop(): Promise<void>;
  /** SIGCONT. */
  resume(): void;
}

const pauses = new WeakMap<Stoppable, number>();

/** Pauses may overlap: it stops with the first of them and goes on with the end of the last. */
export async function standStill(what: Stoppable, forMs: number): Promise<void> {
  const under = pauses.get(what) ?? 0;
  pauses.set(what, under + 1);
  if (under === 0) await what.stop();
  await sleep(forMs);
  const left = (pauses.get(what) ?? 1) - 1;
  pauses.set(what, left);
  if (left === 0) what.resume();
}
