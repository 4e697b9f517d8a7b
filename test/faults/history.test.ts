/** The checker is tested first: it finds every violation that is planted in a good history, and nothing in good ones. */
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  checkHistory,
  type EventEntry,
  type ExecutionEntry,
  type History,
  type HistoryOptions,
  type RequestEntry,
  type WriteEntry,
} from "./history.js";

const LEASE_MS = 100;
const OPTIONS: HistoryOptions = {
  leaseMs: LEASE_MS,
  ttlMs: 10_000,
  endedAt: 5_000,
  quietFrom: 1_000,
  marginMs: 50,
  leasesHold: true,
};

function request(id: string, invokedAt: number, more: Partial<RequestEntry> = {}): RequestEntry {
  return {
    id,
    key: "key",
    fingerprint: "same",
    invokedAt,
    completedAt: invokedAt + 30,
    outcome: "replayed",
    answer: "A",
    deadlineMs: 200,
    ...more,
  };
}

function execution(token: string, at: number, more: Partial<ExecutionEntry> = {}): ExecutionEntry {
  return {
    key: "key",
    fingerprint: "same",
    token,
    process: "one",
    requestedAt: at,
    claimedAt: at,
    startedAt: at + 5,
    endedAt: at + 20,
    end: "returned",
    answer: token,
    renewedAt: [],
    ...more,
  };
}

function event(type: string, at: number, process = "one"): EventEntry {
  return { at, process, key: "key", type };
}

function lockOf(token: string) {
  return { kind: "lock" as const, token };
}

function recordOf(token: string) {
  return { kind: "record" as const, token };
}

function write(by: string, before: WriteEntry["before"], after: WriteEntry["after"]): WriteEntry {
  return { at: 50, node: "n1", key: "key", by, before, after };
}

/** One execution, answered and replayed. */
const GOOD: History = {
  requests: [request("first", 0, { outcome: "executed" }), request("retry", 500)],
  executions: [execution("A", 0)],
  events: [],
  writes: [write("A", undefined, lockOf("A")), write("A", lockOf("A"), recordOf("A"))],
};

function withMore(more: Partial<History>, from: History = GOOD): History {
  return {
    requests: [...from.requests, ...(more.requests ?? [])],
    executions: [...from.executions, ...(more.executions ?? [])],
    events: [...from.events, ...(more.events ?? [])],
    writes: [...from.writes, ...(more.writes ?? [])],
  };
}

const EMPTY: History = { requests: [], executions: [], events: [], writes: [] };

/** The promise that breaks alone, or first, and what happened. */
const PLANTED: readonly (readonly [string, string, History])[] = [
  [
    "P1",
    "a replay with another execution's answer",
    withMore({
      requests: [request("other", 600, { answer: "B" })],
      executions: [execution("B", 0, { process: "two" })],
      events: [event("lease-lost", 10), event("lease-lost", 10, "two")],
    }),
  ],
  [
    "P1",
    "an answer that nobody executed",
    withMore({ requests: [request("x", 600, { answer: "X" })] }),
  ],
  [
    "P1",
    "an answer that is replayed before it was executed",
    withMore({ requests: [request("early", 0, { completedAt: 2 })] }),
  ],
  [
    "P1",
    "an answer to a request with another payload",
    withMore({ requests: [request("other", 600, { fingerprint: "other" })] }),
  ],
  [
    "P2",
    "two executions under proven leases",
    withMore({
      executions: [execution("B", 10, { process: "two" })],
      events: [event("lease-lost", 200), event("lease-lost", 200, "two")],
    }),
  ],
  [
    "P2",
    "an execution beside a holder that has renewed its lease",
    withMore(
      {
        executions: [
          execution("A", 0, { endedAt: 300, renewedAt: [90, 180] }),
          execution("B", 210, { process: "two" }),
        ],
        events: [event("lease-lost", 320)],
      },
      EMPTY,
    ),
  ],
  [
    "P2",
    "an execution before a dead holder's lease was over",
    withMore(
      {
        executions: [
          execution("A", 0, { end: undefined, endedAt: undefined, crashedAt: 10 }),
          execution("B", 50, { process: "two" }),
        ],
      },
      EMPTY,
    ),
  ],
  [
    "P2",
    "a second execution, and nothing says why",
    withMore({ executions: [execution("A", 0), execution("B", 150, { process: "two" })] }, EMPTY),
  ],
  [
    "P3",
    "an execution of a retry that was sent after the first answer",
    withMore({
      executions: [execution("B", 400, { process: "two" })],
      events: [event("lease-lost", 300)],
    }),
  ],
  [
    "P3",
    "a retry after the first answer that is told of a failure",
    withMore({ requests: [request("late", 600, { outcome: "failed", answer: undefined })] }),
  ],
  [
    "P3",
    "a retry after the first answer that is told that the key is another's",
    withMore({ requests: [request("late", 600, { outcome: "mismatch", answer: undefined })] }),
  ],
  [
    "P4",
    "a key that is in progress although nobody is at work",
    withMore({ requests: [request("late", 1_200, { outcome: "conflict", answer: undefined })] }),
  ],
  [
    "P4",
    "a key that cannot be asked although nothing fails",
    withMore({ requests: [request("late", 1_200, { outcome: "unavailable", answer: undefined })] }),
  ],
  [
    "P5",
    "a stale holder that answers with its own result",
    withMore(
      {
        requests: [
          request("new", 150, { outcome: "executed", answer: "B" }),
          request("old", 0, { outcome: "executed", completedAt: 190 }),
        ],
        executions: [execution("A", 0, { endedAt: 185 }), execution("B", 150, { process: "two" })],
        events: [event("lease-lost", 110)],
      },
      EMPTY,
    ),
  ],
  [
    "P5",
    "a record that is overwritten",
    withMore({ writes: [write("B", recordOf("A"), recordOf("B"))] }),
  ],
  [
    "P5",
    "a record that is deleted, even by its author",
    withMore({ writes: [write("A", recordOf("A"), undefined)] }),
  ],
  [
    "P5",
    "a record that becomes a lock",
    withMore({ writes: [write("B", recordOf("A"), lockOf("B"))] }),
  ],
  [
    "P5",
    "a lock that another releases",
    withMore({ writes: [write("B", lockOf("A"), undefined)] }),
  ],
  [
    "P6",
    "an execution after a tombstone",
    withMore(
      {
        executions: [execution("A", 0), execution("B", 400, { process: "two" })],
        events: [event("tombstoned", 25), event("lease-lost", 24)],
      },
      EMPTY,
    ),
  ],
  [
    "P6",
    "a result whose key was released",
    withMore({
      executions: [execution("B", 0, { isResult: true, process: "two" })],
      events: [event("released", 21, "two")],
    }),
  ],
  [
    "P6",
    "an execution after a client was told that the request is processed",
    withMore(
      {
        requests: [request("told", 100, { outcome: "processed", answer: undefined })],
        executions: [execution("A", 0), execution("B", 400, { process: "two" })],
        events: [event("lease-lost", 24)],
      },
      EMPTY,
    ),
  ],
  [
    "P7",
    "a request that takes too long",
    withMore({ requests: [request("slow", 400, { completedAt: 700 })] }),
  ],
  [
    "P7",
    "a request that is never settled",
    withMore({
      requests: [
        request("hung", 400, { completedAt: undefined, outcome: "unknown", answer: undefined }),
      ],
    }),
  ],
];

/** All that may happen without breaking a promise. */
const FINE: readonly (readonly [string, History])[] = [
  ["nothing", EMPTY],
  ["an execution and its replay", GOOD],
  [
    "a duplicate that is refused while the first runs, an unknown answer, an unavailable store",
    withMore({
      requests: [
        request("twin", 10, { outcome: "conflict", answer: undefined }),
        request("cut", 300, { outcome: "unknown", completedAt: undefined, deadlineMs: undefined }),
        request("out", 320, { outcome: "unavailable", answer: undefined }),
      ],
    }),
  ],
  [
    "another payload that is refused",
    withMore({
      requests: [
        request("reuse", 300, { fingerprint: "other", outcome: "mismatch", answer: undefined }),
      ],
    }),
  ],
  [
    "a handler that fails, and runs again",
    withMore(
      {
        requests: [request("bad", -60, { outcome: "failed", answer: undefined })],
        executions: [execution("Z", -60, { end: "threw", answer: undefined })],
        events: [event("released", -40)],
      },
      GOOD,
    ),
  ],
  [
    "a holder that dies, and a successor after its lease",
    withMore(
      {
        requests: [request("next", 120, { outcome: "executed", answer: "B" })],
        executions: [
          execution("A", 0, { end: undefined, endedAt: undefined, crashedAt: 10 }),
          execution("B", 120, { process: "two" }),
        ],
      },
      EMPTY,
    ),
  ],
  [
    "a paused holder that says so and answers with its successor's result",
    withMore(
      {
        requests: [
          request("next", 120, { outcome: "executed", answer: "B" }),
          request("old", 0, { completedAt: 190, answer: "B" }),
        ],
        executions: [execution("A", 0, { endedAt: 180 }), execution("B", 120, { process: "two" })],
        events: [event("lease-lost", 170)],
      },
      EMPTY,
    ),
  ],
  [
    "a claim that is used only after its lease, beside its successor",
    withMore(
      {
        executions: [
          execution("A", 0, { startedAt: 130, endedAt: 140 }),
          execution("B", 120, { process: "two" }),
        ],
        events: [event("lease-lost", 150)],
      },
      EMPTY,
    ),
  ],
  [
    "a new execution when the record's time is over",
    withMore({
      requests: [request("anew", 10_100, { outcome: "executed", answer: "B" })],
      executions: [execution("B", 10_100)],
    }),
  ],
  [
    "a conflict while somebody works, long after all is quiet",
    withMore(
      {
        requests: [request("twin", 2_010, { outcome: "conflict", answer: undefined })],
        executions: [execution("A", 2_000, { endedAt: 2_100 })],
      },
      EMPTY,
    ),
  ],
];

describe("checkHistory", () => {
  it.each(FINE)("lets pass: %s", (_, history) => {
    expect(checkHistory(history, OPTIONS)).toEqual([]);
  });

  it.each(PLANTED)("%s is broken by %s", (promise, _, history) => {
    const broken = checkHistory(history, OPTIONS).map((violation) => violation.promise);
    expect(broken).toContain(promise);
  });

  it("judges neither exclusion nor stuck keys where the run cannot tell", () => {
    const [, , overlap] =
      PLANTED.find(([, what]) => what === "two executions under proven leases") ?? [];
    const [, , stuck] = PLANTED.find(([, what]) => what.startsWith("a key that is in")) ?? [];
    expect(checkHistory(overlap ?? EMPTY, { ...OPTIONS, leasesHold: false })).toEqual([]);
    expect(checkHistory(stuck ?? EMPTY, { ...OPTIONS, quietFrom: undefined })).toEqual([]);
  });

  it("judges every key by itself, and in any order of its entries", () => {
    const histories = [...FINE, ...PLANTED.map(([, what, broken]) => [what, broken] as const)];
    const some = fc.subarray(histories, { minLength: 1 });
    fc.assert(
      fc.property(some, fc.infiniteStream(fc.nat()), (chosen, order) => {
        const apart = chosen.map(([what, history]) => keyed(history, what));
        const shuffled = <T>(list: readonly T[]): T[] => {
          const ranked = list.map((entry) => ({ entry, rank: order.next().value as number }));
          return ranked.toSorted((a, b) => a.rank - b.rank).map(({ entry }) => entry);
        };
        const together: History = {
          requests: shuffled(apart.flatMap(({ requests }) => requests)),
          executions: shuffled(apart.flatMap(({ executions }) => executions)),
          events: shuffled(apart.flatMap(({ events }) => events)),
          writes: shuffled(apart.flatMap(({ writes }) => writes)),
        };
        expect(brokenIn(together)).toEqual(apart.flatMap(brokenIn).toSorted());
      }),
    );
  });
});

function keyed({ requests, executions, events, writes }: History, key: string): History {
  const mark = <T extends { key: string }>(entries: readonly T[]): T[] =>
    entries.map((entry) => ({ ...entry, key }));
  return {
    requests: mark(requests),
    executions: mark(executions),
    events: mark(events),
    writes: mark(writes),
  };
}

function brokenIn(history: History): string[] {
  return checkHistory(history, OPTIONS)
    .map(({ promise, key }) => `${promise} of ${key}`)
    .toSorted();
}
