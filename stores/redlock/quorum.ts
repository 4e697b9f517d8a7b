/** What a quorum does with its nodes' votes: locks by redlock, records by majority. */
import { LockFailedError, StoreUnavailableError } from "../../src/errors.js";
import type { CachedResponse, Lease, LockResult, SetResult } from "../../src/store.js";
import { poll } from "./ballot.js";
import {
  decideRead,
  decideStore,
  isAuthors,
  majorityOf,
  type ReadVerdict,
  type ReadVote,
  type StoreVerdict,
  type StoreVote,
} from "./decisions.js";
import type { Stored } from "../redis/endpoint.js";
import type { LockValue, RecordValue } from "../redis/value.js";
import { RedlockLocks, unavailable, type Claimed } from "./locks.js";
import type { Voter } from "./voter.js";

/** Clocks of nodes may run this much faster than ours: leases and records are held that much longer. */
const LEASE_DRIFT = 0.01;
const TTL_DRIFT = 0.0001;
/** Redis expires keys to the millisecond, and rounds. */
const ROUNDING_MS = 2;

/** Tries of one claim while no contender gets a majority, with random pauses in between that grow. */
const MAX_TRIES = 4;
const LONGEST_PAUSE_MS = 10;
/** When nobody's lease says how long to wait. */
const RETRY_SOON_MS = 1_000;

/** The verbs of the store, each a vote of all nodes. */
export class Quorum {
  readonly #voters: readonly Voter[];
  readonly #locks: RedlockLocks;

  constructor(voters: readonly Voter[]) {
    this.#voters = voters;
    this.#locks = new RedlockLocks(voters);
  }

  async lock(key: string, fingerprint: string, leaseMs: number): Promise<LockResult> {
    for (let tries = 1; ; tries += 1) {
      const validUntil = performance.now() + leaseMs;
      const claimed = await this.#locks.claim(key, fingerprint, heldFor(leaseMs));
      const lease: Lease = { key, token: claimed.token, fingerprint, validUntil };
      const result = await this.#resultOf(claimed, lease, tries === MAX_TRIES);
      if (result !== undefined) return result;
      await pause(Math.random() * LONGEST_PAUSE_MS * tries);
    }
  }

  /** Nothing where another try may do better. */
  async #resultOf(
    { verdict, votes, over }: Claimed,
    lease: Lease,
    isLast: boolean,
  ): Promise<LockResult | undefined> {
    switch (verdict.state) {
      case "acquired":
        if (performance.now() < lease.validUntil) return { state: "acquired", lease };
        await this.unlock(lease).catch(() => {});
        if (isLast) throw new LockFailedError(TOO_SLOW);
        return undefined;
      case "completed":
        // Nodes that missed the record, or lost it, get it back: the more hold it, the more may go.
        void this.#spread(lease, votes, verdict.record);
        return { state: "completed", response: verdict.record.response };
      case "adopt":
        return await this.#adopt(lease, votes, verdict.record);
      case "in-progress":
        if (!verdict.split || isLast) return inProgress(verdict.lock);
        // Grants of mine are in the way of everybody, me included: gone before the next try.
        await over;
        return undefined;
      case "wedged":
        throw new StoreUnavailableError(WEDGED);
      case "unavailable":
        throw unavailable("lock", verdict.errors);
      default:
        throw new Error(`Bug! Unknown verdict ${JSON.stringify(verdict satisfies never)}`);
    }
  }

  extend(lease: Lease, leaseMs: number): Promise<boolean> {
    return this.#locks.extend(lease, heldFor(leaseMs));
  }

  unlock(lease: Lease): Promise<void> {
    return this.#locks.release(lease);
  }

  async set({ key, token }: Lease, record: Buffer, ttlMs: number): Promise<SetResult> {
    const verdict = await poll<StoreVote, StoreVerdict>(
      this.#voters,
      async (voter) =>
        voteOf(await voter.ask((node) => node.store(key, token, record, keptFor(ttlMs)))),
      decideStore,
    );
    switch (verdict.state) {
      case "stored":
        return verdict;
      case "lost":
        return verdict.winner === undefined
          ? { state: "lost" }
          : { state: "lost", winner: verdict.winner.response };
      case "unavailable":
        throw unavailable("set", verdict.errors);
      default:
        throw new Error(`Bug! Unknown verdict ${JSON.stringify(verdict satisfies never)}`);
    }
  }

  async read(key: string): Promise<CachedResponse | undefined> {
    const verdict = await poll<ReadVote, ReadVerdict>(
      this.#voters,
      async (voter) => (await voter.ask((node) => node.read(key))) ?? { kind: "empty" },
      decideRead,
    );
    if (verdict.state === "unavailable") throw unavailable("get", verdict.errors);
    return verdict.state === "found" ? verdict.record.response : undefined;
  }

  /**
   * On all nodes that answer. A copy on another one comes back with it: then it must be deleted again. Doing that for
   * the operator, later, could hit a record that was stored since, and nodes must not forget those.
   */
  async delete(key: string): Promise<boolean> {
    const results = await Promise.allSettled(
      this.#voters.map((voter) => voter.ask((node) => node.delete(key))),
    );
    const failures = results.flatMap((it) =>
      it.status === "rejected" ? [it.reason as Error] : [],
    );
    if (results.length - failures.length < majorityOf(results.length)) {
      throw unavailable("delete", failures);
    }
    return results.some((it) => it.status === "fulfilled" && it.value);
  }

  /** Brings a minority's record to a majority. */
  async #adopt(lease: Lease, votes: Claimed["votes"], record: RecordValue): Promise<LockResult> {
    const verdict = await this.#spread(lease, votes, record);
    if (verdict.state === "stored") return { state: "completed", response: record.response };
    // Somebody was faster where I had grants: let those go that are left.
    await this.unlock(lease).catch(() => {});
    if (verdict.state === "unavailable") throw unavailable("lock", verdict.errors);
    const { winner } = verdict;
    return winner === undefined
      ? inProgress(undefined)
      : { state: "completed", response: winner.response };
  }

  /** Writes a record that exists to the nodes that granted me or hold its author's lock. It keeps its author and its end. */
  #spread(
    { key, token }: Lease,
    votes: Claimed["votes"],
    record: RecordValue,
  ): Promise<StoreVerdict> {
    const { bytes, token: author, response } = record;
    const ttlMs = keptFor(response.expiresAt - Date.now());
    const spreadTo = async (voter: Voter, node: number): Promise<StoreVote> => {
      const vote = await votes[node];
      if (isAuthors(record)(vote)) {
        return voteOf(await voter.ask((it) => it.store(key, author, bytes, ttlMs)));
      }
      if (vote === undefined || vote.kind === "lock") return { kind: "held" };
      if (vote.kind === "record") return vote.bytes.equals(bytes) ? { kind: "stored" } : vote;
      if (vote.kind === "down") return vote;
      return voteOf(await voter.ask((it) => it.store(key, token, bytes, ttlMs, author)));
    };
    return poll(this.#voters, spreadTo, decideStore);
  }
}

const WEDGED =
  "Different records of this key were each stored on a minority of nodes, and none can reach a majority any more. " +
  "The request was processed at least once: find out which result counts, then delete the key.";

const TOO_SLOW =
  "The nodes took longer to grant the lease than it lasts: make leaseMs longer, or nodeTimeoutMs shorter.";

function inProgress(lock: LockValue | undefined): LockResult {
  if (lock === undefined) return { state: "in-progress", retryAfterMs: RETRY_SOON_MS };
  const { fingerprint, leaseMs: retryAfterMs } = lock;
  return { state: "in-progress", fingerprint, retryAfterMs };
}

/** How long nodes hold a lease: whole milliseconds, and past its end on our clock. */
function heldFor(leaseMs: number): number {
  return Math.ceil(leaseMs * (1 + LEASE_DRIFT)) + ROUNDING_MS;
}

/** How long nodes keep a record. */
function keptFor(ttlMs: number): number {
  return Math.max(1, Math.ceil(ttlMs * (1 + TTL_DRIFT)) + ROUNDING_MS);
}

function voteOf(found: Stored): StoreVote {
  return typeof found === "string" ? { kind: found } : found;
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}
