/** Each promise as a check of one key's history: yields a sentence for everything that breaks it. */
import type { ExecutionEntry, HistoryOptions, KeyHistory, RequestEntry } from "./history.js";

/** Events that tell an operator of a possible second execution. */
const LOSSES = ["lease-lost", "response-pending", "response-given-up"];

type Result = RequestEntry & { readonly completedAt: number; readonly answer: string };

/** P1: within a record's TTL all results are the same bytes. */
export function* twoAnswers(history: KeyHistory, { ttlMs }: HistoryOptions): Iterable<string> {
  let era: { readonly result: Result; readonly endsAt: number } | undefined;
  for (const result of resultsOf(history)) {
    if (
      era === undefined ||
      (result.answer !== era.result.answer && result.completedAt >= era.endsAt)
    )
      era = { result, endsAt: madeAt(result, history) + ttlMs };
    else if (result.answer !== era.result.answer) {
      yield `${named(result)} got ${result.answer} after ${named(era.result)} got ${era.result.answer}`;
    }
  }
}

/** P1: what is answered was executed, for this very request. */
export function* inventedAnswers(history: KeyHistory): Iterable<string> {
  for (const result of resultsOf(history)) {
    const made = executionOf(result, history);
    if (made === undefined || made.startedAt > result.completedAt) {
      yield `${named(result)} got ${result.answer}, which nobody had executed`;
    } else if (made.fingerprint !== result.fingerprint) {
      yield `${named(result)} got the answer to another request`;
    }
  }
}

/** P2: while a lease is proven, nobody else executes under a proven lease. */
export function* executedBesideAnother(
  history: KeyHistory,
  { leaseMs, leasesHold }: HistoryOptions,
): Iterable<string> {
  if (!leasesHold) return;
  const spans = history.executions.map((execution) => ({
    execution,
    from: execution.startedAt,
    to: Math.min(lastProof(execution) + leaseMs, heldUntil(execution, history)),
  }));
  for (const [at, a] of spans.entries()) {
    for (const b of spans.slice(at + 1)) {
      if (Math.max(a.from, b.from) >= Math.min(a.to, b.to)) continue;
      yield `${ran(b.execution)} beside ${ran(a.execution)}, both under proven leases`;
    }
  }
}

/**
 * P2: of two executions the first was released, or died, or somebody said that a lease was lost or a response late. Claims
 * take time, so that the order of two at once is not known: then one of them has a reason.
 */
export function* executedInSilence(
  history: KeyHistory,
  { ttlMs }: HistoryOptions,
): Iterable<string> {
  for (const [at, a] of history.executions.entries()) {
    for (const b of history.executions.slice(at + 1)) {
      if (wasSaid(LOSSES, a, history) || wasSaid(LOSSES, b, history)) continue;
      if (b.startedAt > a.claimedAt && isExcused(a, b, history, ttlMs)) continue;
      if (a.startedAt > b.claimedAt && isExcused(b, a, history, ttlMs)) continue;
      yield `${ran(b)} after ${ran(a)}, and nothing said why`;
    }
  }
}

/** P3: once a client has a result, no request sent later runs the handler. */
export function* executedAgain(history: KeyHistory, { ttlMs }: HistoryOptions): Iterable<string> {
  const [first] = resultsOf(history);
  if (first === undefined) return;
  const endsAt = madeAt(first, history) + ttlMs;
  for (const execution of history.executions) {
    if (execution.requestedAt <= first.completedAt || execution.startedAt >= endsAt) continue;
    yield `${ran(execution)} although ${named(first)} had its result at ${first.completedAt}`;
  }
}

const NO_RESULT_YET = new Set(["executed", "released", "failed"]);

/** P3: once a client has a result, a later answer is that result, or says that it does not know. */
export function* answeredAgain(history: KeyHistory, { ttlMs }: HistoryOptions): Iterable<string> {
  const [first] = resultsOf(history);
  if (first === undefined) return;
  const endsAt = madeAt(first, history) + ttlMs;
  for (const request of history.requests) {
    const { invokedAt, completedAt = endsAt, outcome, fingerprint } = request;
    if (invokedAt <= first.completedAt || completedAt >= endsAt) continue;
    const isSame = fingerprint === first.fingerprint;
    if (NO_RESULT_YET.has(outcome) || (isSame && outcome === "mismatch")) {
      yield `${named(request)} was answered '${outcome}' although ${named(first)} had its result`;
    }
  }
}

const STUCK = new Set(["conflict", "unavailable"]);

/** P4: a lease and a margin after all is quiet, a key is free or has a result. */
export function* stuckKeys(
  history: KeyHistory,
  { quietFrom, leaseMs, marginMs }: HistoryOptions,
): Iterable<string> {
  if (quietFrom === undefined) return;
  const freeFrom = quietFrom + leaseMs + marginMs;
  for (const request of history.requests) {
    if (request.invokedAt < freeFrom || !STUCK.has(request.outcome)) continue;
    const isHeld = history.executions.some(
      ({ startedAt, endedAt = Infinity, crashedAt = Infinity }) =>
        startedAt <= (request.completedAt ?? Infinity) &&
        Math.min(endedAt, crashedAt) >= request.invokedAt,
    );
    if (!isHeld)
      yield `${named(request)} was refused as '${request.outcome}', and nobody was at work`;
  }
}

/** P5: who lost the lease answers with the successor's result, not with its own. */
export function* answeredByStale(history: KeyHistory): Iterable<string> {
  const results = resultsOf(history);
  for (const own of results.filter(({ outcome }) => outcome === "executed")) {
    const execution = executionOf(own, history);
    const isStale = history.events.some(
      ({ type, at, process }) =>
        type === "lease-lost" &&
        process === execution?.process &&
        at >= execution.startedAt &&
        at <= own.completedAt,
    );
    const successor = results.find(
      ({ answer, completedAt }) => answer !== own.answer && completedAt < own.completedAt,
    );
    if (isStale && successor !== undefined) {
      yield `${named(own)} was answered by a stale holder after ${named(successor)}`;
    }
  }
}

/** P5: on no node does anybody change a record, or a lock that is not theirs. */
export function* changedRecords({ writes }: KeyHistory): Iterable<string> {
  for (const { at, node, by, before, after } of writes) {
    if (before === undefined) continue;
    const isSame = before.kind === after?.kind && before.token === after.token;
    if (isSame || (before.kind === "lock" && before.token === by)) continue;
    yield `${by} changed the ${before.kind} of ${before.token} on ${node} at ${at}`;
  }
}

/** P6: what was processed is not run again because its answer could not be kept. */
export function* executedForConvenience(
  history: KeyHistory,
  { ttlMs }: HistoryOptions,
): Iterable<string> {
  for (const process of new Set(history.executions.map((execution) => execution.process))) {
    const ofProcess = history.executions.filter((execution) => execution.process === process);
    const releases = history.events.filter(
      (event) => event.type === "released" && event.process === process,
    );
    const results = ofProcess.filter(({ isResult }) => isResult === true);
    if (releases.length <= ofProcess.length - results.length) continue;
    yield `${process} released a key although it had a result: ${results.map(ran).join("; ")}`;
  }
  const buried = [
    ...history.events.filter(({ type }) => type === "tombstoned").map(({ at }) => at),
    ...history.requests.flatMap(({ outcome, completedAt }) =>
      outcome === "processed" && completedAt !== undefined ? [completedAt] : [],
    ),
  ];
  if (buried.length === 0) return;
  const since = Math.min(...buried);
  for (const execution of history.executions) {
    if (execution.requestedAt <= since || execution.startedAt >= since + ttlMs) continue;
    yield `${ran(execution)} although its request had been processed by ${since}`;
  }
}

/** P7: every request is settled by its deadline, whatever hangs. */
export function* answeredInTime(
  { requests }: KeyHistory,
  { endedAt }: HistoryOptions,
): Iterable<string> {
  for (const request of requests) {
    const tookMs = (request.completedAt ?? endedAt) - request.invokedAt;
    if (tookMs <= (request.deadlineMs ?? Infinity)) continue;
    yield `${named(request)} took ${tookMs} ms of ${request.deadlineMs}, and ended '${request.outcome}'`;
  }
}

/** Answers that carry a result, in the order in which clients had them. */
function resultsOf({ requests }: KeyHistory): Result[] {
  return requests
    .filter(({ outcome }) => outcome === "executed" || outcome === "replayed")
    .filter((it): it is Result => it.completedAt !== undefined && it.answer !== undefined)
    .toSorted((a, b) => a.completedAt - b.completedAt);
}

function executionOf({ answer }: Result, { executions }: KeyHistory): ExecutionEntry | undefined {
  return executions.find((it) => it.answer === answer);
}

/** The earliest moment from which its TTL can count. */
function madeAt(result: Result, history: KeyHistory): number {
  return executionOf(result, history)?.endedAt ?? result.invokedAt;
}

function lastProof({ claimedAt, renewedAt }: ExecutionEntry): number {
  return Math.max(claimedAt, ...renewedAt);
}

/** Until when a holder wants its lease: one that is to store its answer, longer than it executes. */
function heldUntil(execution: ExecutionEntry, history: KeyHistory): number {
  const { endedAt = Infinity, end } = execution;
  return end === "threw" || wasReleased(execution, history) ? endedAt : Infinity;
}

function isExcused(
  before: ExecutionEntry,
  next: ExecutionEntry,
  history: KeyHistory,
  ttlMs: number,
): boolean {
  return (
    before.crashedAt !== undefined ||
    wasReleased(before, history) ||
    wasSaid(["takeover"], next, history) ||
    (before.endedAt !== undefined && next.startedAt >= before.endedAt + ttlMs)
  );
}

/** A release does not say of which execution it is; never of one with a result. */
function wasReleased(execution: ExecutionEntry, { events }: KeyHistory): boolean {
  const { process, isResult, endedAt = Infinity } = execution;
  return events.some(
    ({ type, at, process: by }) =>
      isResult !== true && type === "released" && by === process && at >= endedAt,
  );
}

function wasSaid(
  types: readonly string[],
  { process, startedAt, claimedAt }: ExecutionEntry,
  { events }: KeyHistory,
): boolean {
  return events.some(
    (event) =>
      event.process === process &&
      types.includes(event.type) &&
      event.at >= Math.min(startedAt, claimedAt),
  );
}

function named({ id }: RequestEntry): string {
  return `request ${id}`;
}

function ran({ token, startedAt }: ExecutionEntry): string {
  return `execution ${token} ran from ${startedAt}`;
}
