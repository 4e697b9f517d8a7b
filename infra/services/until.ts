import { setTimeout as delay } from "node:timers/promises";

/** Gossip travels every 100 ms; asking more often than this finds nothing new. */
const POLL_MS = 20;

/** Redis itself takes two seconds to form a cluster or to promote a replica; CI machines are slow. */
const TIMEOUT_MS = 30_000;

/** Waits for a state that servers report; there is no event for it. */
export async function until(what: string, reached: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + TIMEOUT_MS;
  while (!(await reached())) {
    if (performance.now() > deadline) throw new Error(`Not in ${TIMEOUT_MS} ms: ${what}.`);
    await delay(POLL_MS);
  }
}

/** What a quorum of answers says, as soon as it does: a server that hangs is not waited for. */
export function agreed<T>(quorum: number, answers: readonly Promise<T>[]): Promise<T | undefined> {
  return new Promise((resolve) => {
    const votes = new Map<T, number>();
    const count = (answer: T): void => {
      const sum = (votes.get(answer) ?? 0) + 1;
      votes.set(answer, sum);
      if (sum === quorum) resolve(answer);
    };
    const counted = answers.map((answer) => answer.then(count));
    void Promise.allSettled(counted).then(() => resolve(undefined));
  });
}
