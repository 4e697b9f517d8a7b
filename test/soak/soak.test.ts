/** A short soak run, and one of a process that leaks. `npm run soak -- --store redis --minutes 5` is a long one. */
import { describe, expect, test } from "vitest";
import { soak } from "./soak.js";

const TIMEOUT_MS = 120_000;

const SHORT = { store: "memory", durationMs: 8_000, samples: 25, seed: 42 } as const;

describe.concurrent("a process of the kit's", { timeout: TIMEOUT_MS }, () => {
  test("keeps no more in memory and has no more open after some thousand requests than before", async () => {
    const { violations, requests } = await soak(SHORT);
    expect(violations).toEqual([]);
    expect(requests).toBeGreaterThan(500);
  });

  test("is found out where it leaks memory, timers, listeners and sockets", async () => {
    const leaks = ["memory", "timer", "listener", "socket"] as const;
    const { violations } = await soak({ ...SHORT, durationMs: 4_000, leaks, settleMs: 1_000 });
    expect(violations).toEqual(
      expect.arrayContaining([
        expect.stringMatching(/^Memory leaks: the heap after collection grew/),
        expect.stringMatching(/^timers: 0 before the load, \d+ after it/),
        expect.stringMatching(/^listeners of the server: drop: 0 before the load, \d+ after it/),
        expect.stringMatching(/^connections: 0 before the load, \d+ after it/),
        expect.stringMatching(/^TCPSocketWrap: 0 before the load, \d+ after it/),
      ]),
    );
  });
});
