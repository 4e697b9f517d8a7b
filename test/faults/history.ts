/**
 * What happened in a run, as data, and the promises that it must have kept. Everything that injects faults, the simulation
 * and the campaign on real processes alike, records one of these, and {@link checkHistory} judges it afterwards.
 *
 * All times are milliseconds of one clock, that of the run. Keys are judged one by one: no promise spans two.
 */
import {
  answeredAgain,
  answeredByStale,
  answeredInTime,
  changedRecords,
  executedAgain,
  executedBesideAnother,
  executedForConvenience,
  executedInSilence,
  inventedAnswers,
  stuckKeys,
  twoAnswers,
} from "./promises.js";

/** How one request of a client ended. */
export type RequestOutcome =
  /** The whole answer of its own execution, stored first. */
  | "executed"
  /** The whole answer, marked as a replay. */
  | "replayed"
  /** Its execution's answer, which was not to be stored: the key is free again. */
  | "released"
  /** The handler failed: 500, and the key is free again. */
  | "failed"
  /** 409: the request runs elsewhere. */
  | "conflict"
  /** 422: the key belongs to another request. */
  | "mismatch"
  /** Processed, but its answer was not kept. */
  | "processed"
  /** 503: the store cannot tell, or the lease was lost. */
  | "unavailable"
  /** Any other refusal, before the store was asked. */
  | "refused"
  /** No whole answer: a time-out, a reset, or still waiting when the run ended. */
  | "unknown";

export interface RequestEntry {
  readonly id: string;
  readonly key: string;
  readonly fingerprint: string;
  readonly invokedAt: number;
  /** Absent where nothing came. */
  readonly completedAt?: number | undefined;
  readonly outcome: RequestOutcome;
  /** A hash of status, header fields and body: all that must be the same in every answer. */
  readonly answer?: string | undefined;
  /** The longest that it may take: its handler, its waits, the pauses of its server. Absent: not judged. */
  readonly deadlineMs?: number | undefined;
}

export interface ExecutionEntry {
  readonly key: string;
  readonly fingerprint: string;
  /** Of the lease. */
  readonly token: string;
  /** Which process, and which life of it. */
  readonly process: string;
  /** When the request that it answers was sent. */
  readonly requestedAt: number;
  readonly startedAt: number;
  readonly endedAt?: number | undefined;
  /** Absent while it runs, and for ever where its process died. */
  readonly end?: "returned" | "threw" | undefined;
  /** When its process died, before its answer was stored. */
  readonly crashedAt?: number | undefined;
  /** Whether what it answers is a result, to be kept whole or as a tombstone, and never to be made twice. */
  readonly isResult?: boolean | undefined;
  /** The hash of what it answers. */
  readonly answer?: string | undefined;
  /** When proven renewals were sent: the lease holds for `leaseMs` from the last of them, or from `requestedAt`. */
  readonly renewedAt: readonly number[];
  /** When a claim of its lease was sent. */
  readonly claimedAt: number;
}

/** One of the kit's events, see `src/events.ts`. */
export interface EventEntry {
  readonly at: number;
  readonly process: string;
  readonly key: string;
  readonly type: string;
  readonly reason?: string | undefined;
}

/** What one node of a store changed, where that can be seen. */
export interface WriteEntry {
  readonly at: number;
  readonly node: string;
  readonly key: string;
  /** Whose command it was. */
  readonly by: string;
  readonly before: Standing | undefined;
  readonly after: Standing | undefined;
}

export interface Standing {
  readonly kind: "lock" | "record";
  readonly token: string;
}

export interface History {
  readonly requests: readonly RequestEntry[];
  readonly executions: readonly ExecutionEntry[];
  readonly events: readonly EventEntry[];
  readonly writes: readonly WriteEntry[];
}

export interface HistoryOptions {
  readonly leaseMs: number;
  readonly ttlMs: number;
  /** When the run ended: what is still open by then is judged by it. */
  readonly endedAt: number;
  /** From when on nothing failed any more and no execution was under way: P4 is judged from there. Absent: not judged. */
  readonly quietFrom?: number | undefined;
  /** How much longer than a lease a dead holder may block its key: clock differences and probes of nodes. */
  readonly marginMs: number;
  /**
   * Whether the store cannot have forgotten a lease: no node lost data, and none had its clock set. Then nobody executes
   * while another's lease is proven.
   */
  readonly leasesHold: boolean;
}

export interface Violation {
  readonly promise: "P1" | "P2" | "P3" | "P4" | "P5" | "P6" | "P7";
  readonly key: string;
  /** One sentence, with times. */
  readonly says: string;
}

/** One key's part of a history, each list in order of time. */
export interface KeyHistory extends History {
  readonly key: string;
}

type Check = (history: KeyHistory, options: HistoryOptions) => Iterable<string>;

const CHECKS: readonly (readonly [Violation["promise"], Check])[] = [
  ["P1", twoAnswers],
  ["P1", inventedAnswers],
  ["P2", executedBesideAnother],
  ["P2", executedInSilence],
  ["P3", executedAgain],
  ["P3", answeredAgain],
  ["P4", stuckKeys],
  ["P5", answeredByStale],
  ["P5", changedRecords],
  ["P6", executedForConvenience],
  ["P7", answeredInTime],
];

/** Every violation found, by key and promise; empty where all promises held. */
export function checkHistory(history: History, options: HistoryOptions): Violation[] {
  return byKey(history).flatMap((one) =>
    CHECKS.flatMap(([promise, check]) =>
      Array.from(check(one, options), (says) => ({ promise, key: one.key, says })),
    ),
  );
}

function byKey({ requests, executions, events, writes }: History): KeyHistory[] {
  const keys = new Set([...requests, ...executions].map(({ key }) => key));
  return [...keys].map((key) => {
    const isOfKey = (entry: { readonly key: string }): boolean => entry.key === key;
    return {
      key,
      requests: requests.filter(isOfKey).toSorted((a, b) => a.invokedAt - b.invokedAt),
      executions: executions.filter(isOfKey).toSorted((a, b) => a.startedAt - b.startedAt),
      events: events.filter(isOfKey).toSorted((a, b) => a.at - b.at),
      writes: writes.filter(isOfKey).toSorted((a, b) => a.at - b.at),
    };
  });
}
