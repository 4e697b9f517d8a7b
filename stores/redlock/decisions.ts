/**
 * What votes mean: pure functions, no clock and no network, so that a model can run the very same decisions.
 *
 * Two rules make agreement, whatever clocks, pauses, delays and duplicates do: a node never changes a stored record, and a
 * record is answered only while a majority of nodes hold it. Two majorities share a node, so there are never two
 * answers. Locks only keep the handler from running twice.
 */
import type { LockValue, RecordValue } from "../redis/value.js";

/** A node that did not answer in time, refused, or is known to be down: whether it acted is unknown. */
export interface Down {
  readonly kind: "down";
  readonly error: Error;
  /** Of one that lost its data: it has no say in what was stored, neither now nor when it is back. */
  readonly abstains?: boolean;
}

export type ClaimVote = { readonly kind: "granted" } | LockValue | RecordValue | Down;
export type StoreVote =
  | { readonly kind: "stored" }
  /** Stored as well, where nothing was. */
  | { readonly kind: "lapsed" }
  | { readonly kind: "held" }
  | RecordValue
  | Down;
export type ReadVote = { readonly kind: "empty" } | LockValue | RecordValue | Down;

export type ClaimVerdict =
  | { readonly state: "acquired" }
  | { readonly state: "completed"; readonly record: RecordValue }
  /** Fewer hold it than a majority; written to the nodes that granted me or still hold its author's lock, it can have one. */
  | { readonly state: "adopt"; readonly record: RecordValue; readonly holders: number }
  /**
   * `lock`: of the holder. Who has only a minority may be a contender that gets nothing, and its fingerprint means nothing.
   * `split`: nobody has a majority, so that another try may win at once.
   */
  | { readonly state: "in-progress"; readonly lock: LockValue | undefined; readonly split: boolean }
  /** No record can ever reach a majority: only an operator's `delete` helps. */
  | { readonly state: "wedged" }
  | { readonly state: "unavailable"; readonly errors: readonly Error[] };

export type StoreVerdict =
  /** `lapsed`: where no majority held the lease any more. */
  | { readonly state: "stored"; readonly lapsed?: boolean }
  | { readonly state: "lost"; readonly winner: RecordValue | undefined }
  | { readonly state: "unavailable"; readonly errors: readonly Error[] };

export type ReadVerdict =
  | { readonly state: "found"; readonly record: RecordValue }
  | { readonly state: "none" }
  | { readonly state: "unavailable"; readonly errors: readonly Error[] };

export function majorityOf(nodes: number): number {
  return Math.floor(nodes / 2) + 1;
}

/** @param votes One for each node, `undefined` while it is out. Answers `undefined` while more votes can matter. */
export function decideClaim(
  votes: readonly (ClaimVote | undefined)[],
  now: number,
): ClaimVerdict | undefined {
  const majority = majorityOf(votes.length);
  const records = recordsIn(votes);
  const [most] = records;
  if (most !== undefined && most.holders >= majority) {
    return { state: "completed", record: most.record };
  }
  const locks = locksIn(votes);
  // With a majority held by others neither a claim nor an adoption can succeed, whatever else comes.
  const held = locks.reduce((sum, { holders }) => sum + holders, 0);
  if (held >= majority) {
    const holder = locks.find(({ holders }) => holders >= majority);
    return { state: "in-progress", lock: holder?.lock, split: holder === undefined };
  }
  // Every node is heard: a record that only a minority holds would otherwise be missed, and its request run again.
  if (votes.includes(undefined)) return undefined;
  return decideHeard(votes as readonly ClaimVote[], now, records, held > 0);
}

function decideHeard(
  votes: readonly ClaimVote[],
  now: number,
  records: readonly Holding[],
  isContended: boolean,
): ClaimVerdict {
  const majority = majorityOf(votes.length);
  const granted = count(votes, "granted");
  const errors = errorsIn(votes);
  if (votes.length - errors.length < majority) return { state: "unavailable", errors };
  // A minority's copy that has outlived its record is about to go: it stands in nobody's way.
  const live = records.filter(({ record }) => record.response.expiresAt > now);
  // Its author's lock is where the author is about to write that record, or died before it could.
  const adoptable = live.find(
    ({ record, holders }) => holders + granted + votes.filter(isAuthors(record)).length >= majority,
  );
  if (adoptable !== undefined) return { state: "adopt", ...adoptable };
  const stuck = live.reduce((sum, { holders }) => sum + holders, 0);
  const abstaining = votes.filter((vote) => vote.kind === "down" && vote.abstains === true).length;
  const room = votes.length - stuck - abstaining;
  if (live.length > 0 && live.every(({ holders }) => holders + room < majority)) {
    return { state: "wedged" };
  }
  if (live.length === 0 && granted >= majority) return { state: "acquired" };
  // Nobody is at work: a silent node alone decides which record counts, and there is no lease to wait for.
  if (live.length > 0 && !isContended && errors.length > 0) {
    return { state: "unavailable", errors };
  }
  return { state: "in-progress", lock: undefined, split: live.length === 0 };
}

export function decideStore(votes: readonly (StoreVote | undefined)[]): StoreVerdict | undefined {
  const majority = majorityOf(votes.length);
  const held = count(votes, "stored");
  if (held >= majority) return { state: "stored" };
  const lapsed = count(votes, "lapsed");
  const stored = held + lapsed;
  // A node that missed the lease, but not the record, says nothing yet: others may tell that a majority held it all along.
  const isTold = lapsed >= majority || !votes.includes(undefined);
  if (stored >= majority) return isTold ? { state: "stored", lapsed: true } : undefined;
  const [most] = recordsIn(votes);
  if (most !== undefined && most.holders >= majority) {
    return { state: "lost", winner: most.record };
  }
  if (votes.includes(undefined)) return undefined;
  const errors = errorsIn(votes as readonly StoreVote[]);
  // A silent node may hold the record: nobody knows, so it is offered again.
  if (stored + errors.length >= majority) return { state: "unavailable", errors };
  return { state: "lost", winner: undefined };
}

/** The record that a majority holds. Where a silent node could make a minority one, nobody can tell. */
export function decideRead(votes: readonly (ReadVote | undefined)[]): ReadVerdict | undefined {
  const majority = majorityOf(votes.length);
  const [most] = recordsIn(votes);
  const holders = most?.holders ?? 0;
  if (most !== undefined && holders >= majority) return { state: "found", record: most.record };
  const out = votes.filter((vote) => vote === undefined).length;
  if (holders + out + count(votes, "down") < majority) return { state: "none" };
  if (out > 0) return undefined;
  return { state: "unavailable", errors: errorsIn(votes as readonly ReadVote[]) };
}

interface Holding {
  readonly record: RecordValue;
  readonly holders: number;
}

/** The different records among the votes, those on most nodes first, and in one order for everybody. */
function recordsIn(votes: readonly ({ kind: string } | undefined)[]): Holding[] {
  const records: Holding[] = [];
  for (const vote of votes) {
    if (!isRecord(vote)) continue;
    const at = records.findIndex(({ record }) => record.bytes.equals(vote.bytes));
    const known = records[at];
    if (known === undefined) records.push({ record: vote, holders: 1 });
    else records[at] = { record: known.record, holders: known.holders + 1 };
  }
  return records.toSorted((a, b) => b.holders - a.holders || byToken(a.record, b.record));
}

/** Any order would do that all processes share: each record has a token of its own. */
function byToken(a: RecordValue, b: RecordValue): number {
  return Buffer.compare(Buffer.from(a.token), Buffer.from(b.token));
}

/** The different holders among the votes, those of most nodes first. */
function locksIn(votes: readonly (ClaimVote | undefined)[]) {
  const locks = new Map<string, { lock: LockValue; holders: number }>();
  for (const vote of votes) {
    if (vote?.kind !== "lock") continue;
    const known = locks.get(vote.token);
    locks.set(vote.token, { lock: vote, holders: (known?.holders ?? 0) + 1 });
  }
  return [...locks.values()].toSorted((a, b) => b.holders - a.holders);
}

function isRecord(vote: { kind: string } | undefined): vote is RecordValue {
  return vote?.kind === "record";
}

/** Whether somebody's vote is the lock under which this record was written: that one may be replaced by it. */
export function isAuthors(record: RecordValue): (vote: ClaimVote | undefined) => boolean {
  return (vote) => vote?.kind === "lock" && vote.token === record.token;
}

function count(votes: readonly ({ kind: string } | undefined)[], kind: string): number {
  return votes.filter((vote) => vote?.kind === kind).length;
}

function errorsIn(votes: readonly { kind: string }[]): Error[] {
  return votes.flatMap((vote) => (vote.kind === "down" ? [(vote as Down).error] : []));
}
