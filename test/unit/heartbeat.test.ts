/** What a heartbeat may believe (P2): found by simulation, where processes stall while a renewal is under way. */
import { describe, expect, it } from "vitest";
import { Heartbeat } from "../../src/idempotency/heartbeat.js";
import { fakeClock } from "../support/clock.js";
import { deferred } from "../support/deferred.js";
import { listen } from "../support/events.js";

const LEASE_MS = 9_000;

function beating(extend: () => Promise<boolean>): Heartbeat {
  const validUntil = performance.now() + LEASE_MS;
  const lease = { key: "key", token: "token", fingerprint: "fingerprint", validUntil };
  const maxHandlingMs = 20 * LEASE_MS;
  return new Heartbeat(lease, Infinity, { leaseMs: LEASE_MS, maxHandlingMs, extend });
}

describe("a renewal", () => {
  it("that is answered before the lease is over prolongs it from when it was sent", async () => {
    using clock = fakeClock();
    const answers = [deferred<boolean>(), deferred<boolean>()];
    let asked = 0;
    const heartbeat = beating(() => answers[asked++]?.promise ?? Promise.resolve(true));
    await clock.advance(LEASE_MS * 0.9);
    answers[0]?.resolve(true);
    await clock.advance(LEASE_MS * 0.4);
    expect(heartbeat.held).toBe(true);
    await clock.advance(LEASE_MS * 0.1);
    expect(heartbeat.held).toBe(false);
  });

  it("that is answered later proves nothing, for others may have come and gone in between", async () => {
    using clock = fakeClock();
    using events = listen();
    const answer = deferred<boolean>();
    const heartbeat = beating(() => answer.promise);
    const { signal } = heartbeat;
    await clock.advance(LEASE_MS + 1);
    answer.resolve(true);
    await clock.advance(1);
    expect(heartbeat.lost).toBe(true);
    expect(signal.aborted).toBe(true);
    expect(events.all).toEqual([{ type: "lease-lost", key: "key", reason: "expired" }]);
  });

  it("that crosses the end of the handler leaves the verdict to the next store call", async () => {
    using clock = fakeClock();
    using events = listen();
    const answer = deferred<boolean>();
    const heartbeat = beating(() => answer.promise);
    await clock.advance(LEASE_MS / 2);
    const stopped = heartbeat.stop();
    answer.resolve(false);
    await stopped;
    expect(heartbeat.lost).toBe(false);
    expect(events.all).toEqual([]);
  });

  it("that crosses the end of the handler and is refused proves no longer lease, and one loss is told once", async () => {
    using clock = fakeClock();
    using events = listen();
    const answer = deferred<boolean>();
    const heartbeat = beating(() => answer.promise);
    await clock.advance(LEASE_MS / 2);
    const stopped = heartbeat.stop();
    answer.resolve(false);
    await stopped;
    await clock.advance(LEASE_MS / 2);
    for (let turn = 0; turn < 2; turn += 1) heartbeat.check();
    expect(events.all).toEqual([{ type: "lease-lost", key: "key", reason: "expired" }]);
  });

  it("that crosses the end of the handler is the last", async () => {
    using clock = fakeClock();
    const answer = deferred<boolean>();
    let asked = 0;
    const heartbeat = beating(() => {
      asked += 1;
      return answer.promise;
    });
    await clock.advance(LEASE_MS / 2);
    const stopped = heartbeat.stop();
    answer.resolve(true);
    await stopped;
    await clock.advance(LEASE_MS);
    expect(asked).toBe(1);
  });

  it("that outlasts the lease is told of, even after the handler has ended", async () => {
    using clock = fakeClock();
    using events = listen();
    const answer = deferred<boolean>();
    const heartbeat = beating(() => answer.promise);
    await clock.advance(LEASE_MS / 2);
    const stopped = heartbeat.stop();
    await clock.advance(LEASE_MS);
    answer.resolve(true);
    await stopped;
    expect(heartbeat.lost).toBe(true);
    expect(events.types).toEqual(["lease-lost"]);
  });
});
