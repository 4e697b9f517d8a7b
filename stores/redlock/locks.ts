/**
 * Locks on a majority of nodes by the `redlock` package, used as what it is good at: sending one script to every node.
 * Its clients here are shims that run the kit's own verbs, own each node's deadline, and know what every node said;
 * its own retries, clean-up and clock decide nothing (they self-block, are paid twice, and follow the wall clock).
 */
import { randomUUID } from "node:crypto";
import Redlock, { ExecutionError, Lock, type ExecutionStats, type ScriptClient } from "redlock";
import { StoreUnavailableError } from "../../src/errors.js";
import type { Lease } from "../../src/store.js";
import { Ballot } from "./ballot.js";
import { decideClaim, majorityOf, type ClaimVerdict, type ClaimVote } from "./decisions.js";
import { EXTEND, RELEASE } from "../redis/scripts.js";
import { downBy, type Voter } from "./voter.js";

/**
 * Votes against that are answers, not failures. Every duplicate gets one of each node, so they are made once: what costs
 * time about an error is its stack, and nobody reads theirs.
 */
const EMPTY = new Error("The node holds nothing.");
const TAKEN = new Error("The node holds something else.");

/** Redlock would ask the system for the bytes of each token; Node has those of UUIDs in stock. */
class FanOut extends Redlock {
  protected override _random(): string {
    return randomUUID();
  }
}

type Owned = Pick<Lease, "key" | "token" | "fingerprint">;

interface Round {
  readonly key: string;
  readonly fingerprint: string;
  readonly ballot: Ballot<ClaimVote, ClaimVerdict>;
  readonly votes: Promise<ClaimVote>[];
  token: string;
}

export interface Claimed {
  readonly token: string;
  readonly verdict: ClaimVerdict;
  /** By node. A node that fails votes `down`. */
  readonly votes: readonly Promise<ClaimVote>[];
  /** When redlock has given back what was granted in vain. */
  readonly over: Promise<void>;
}

export class RedlockLocks {
  readonly #voters: readonly Voter[];
  readonly #redlock: Redlock;
  readonly #shims: readonly ScriptClient[];
  /** By what redlock takes for the name of a lock: of claims those of one key differ. */
  readonly #rounds = new Map<string, Round>();
  #count = 0;

  constructor(voters: readonly Voter[]) {
    this.#voters = voters;
    this.#shims = voters.map((voter, node) => this.#shim(voter, node));
    this.#redlock = new FanOut(
      this.#shims,
      { retryCount: 0 },
      // Redlock names scripts by their hash; any text but these is its acquire.
      { extendScript: () => EXTEND.lua, releaseScript: () => RELEASE.lua },
    );
  }

  /**
   * Claims on every node. What was granted in vain is given back, but not where a record is to be written:
   * with `adopt` and `completed` that is the caller's to do.
   */
  async claim(key: string, fingerprint: string, durationMs: number): Promise<Claimed> {
    this.#count += 1;
    // No key has a space in it.
    const name = `claim ${this.#count}`;
    const ballot = new Ballot<ClaimVote, ClaimVerdict>(this.#voters.length, (votes) =>
      decideClaim(votes, Date.now()),
    );
    const round: Round = { key, fingerprint, ballot, votes: [], token: "" };
    this.#rounds.set(name, round);
    const end = (): void => void this.#rounds.delete(name);
    const over = this.#redlock.acquire([name], durationMs).then(end, (error: unknown) => {
      end();
      if (!(error instanceof ExecutionError)) throw error;
    });
    // Redlock knows of its own quorum only; but should it fail before it asks, nobody ever votes.
    over.catch(ballot.fail);
    const verdict = await ballot.verdict;
    return { token: round.token, verdict, votes: round.votes, over };
  }

  /** `false`: a majority no longer holds it. */
  async extend(lease: Owned, durationMs: number): Promise<boolean> {
    try {
      const { attempts } = await this.#redlock.extend(this.#lock(lease), durationMs);
      void attempts[0]?.then((stats) => this.#heal(stats, lease, durationMs));
      return true;
    } catch (error) {
      const stats = await defeat(error);
      const majority = majorityOf(this.#voters.length);
      const against = [...stats.votesAgainst.values()];
      const held = stats.votesFor.size;
      const empty = against.filter((vote) => vote === EMPTY).length;
      // A lease that a minority forgot is whole again where that is asked. A majority may have let it go to somebody who
      // executed and is gone: such a lease is lost, as one that all forgot.
      if (empty < majority && held + empty >= majority) {
        if (held + (await this.#heal(stats, lease, durationMs)) >= majority) return true;
      }
      const failures = against.filter((vote) => vote !== EMPTY && vote !== TAKEN);
      if (against.length - failures.length >= majority) return false;
      throw unavailable("extend", failures);
    }
  }

  async release(lease: Owned): Promise<void> {
    try {
      await this.#redlock.release(this.#lock(lease));
    } catch (error) {
      const { votesAgainst } = await defeat(error);
      throw unavailable("unlock", [...votesAgainst.values()]);
    }
  }

  /** Redlock would refuse to touch a lock by the wall clock; whether it holds is for the nodes to say. */
  #lock({ key, token }: Owned): Lock {
    return new Lock(this.#redlock, [key], token, [], Number.POSITIVE_INFINITY);
  }

  /** Nodes that came back empty take the lock again, else the next one to go would cost the lease. Tells how many. */
  async #heal({ votesAgainst }: ExecutionStats, lease: Owned, durationMs: number): Promise<number> {
    const empty = this.#voters.filter(
      (_, node) => votesAgainst.get(this.#shims[node] as ScriptClient) === EMPTY,
    );
    const votes = await Promise.all(empty.map((voter) => claimOn(voter, lease, durationMs)));
    return votes.filter(({ kind }) => kind === "granted").length;
  }

  #shim(voter: Voter, node: number): ScriptClient {
    const run = async (sha: string, args: readonly (string | number)[]): Promise<number> => {
      const [name, token, durationMs] = args as [string, string, number];
      const round = this.#rounds.get(name);
      const key = round?.key ?? name;
      if (sha === EXTEND.sha) {
        const answer = await voter.ask((it) => it.extend(key, token, durationMs));
        if (answer !== "extended") throw answer === "empty" ? EMPTY : TAKEN;
      } else if (sha !== RELEASE.sha) {
        if (round === undefined) throw new Error("Bug! Redlock claims outside of a round.");
        const { fingerprint } = round;
        await voteIn(round, node, token, claimOn(voter, { key, token, fingerprint }, durationMs));
      } else if (round === undefined || (await isInVain(round, node))) {
        await voter.ask((it) => it.release(key, token));
      }
      return 1;
    };
    return { evalsha: (sha, _, args) => run(sha, args), eval: (_, __, args) => run("", args) };
  }
}

/** Claims on one node; a grant that comes too late is given back. */
async function claimOn(voter: Voter, lease: Owned, durationMs: number): Promise<ClaimVote> {
  const { key, token, fingerprint } = lease;
  try {
    const answer = await voter.ask(
      (node) => node.claim(key, token, fingerprint, durationMs),
      (late, node) => {
        // What cannot be given back ends with its lease.
        if (late === "granted") node.release(key, token).catch(() => {});
      },
    );
    return answer === "granted" ? { kind: "granted" } : answer;
  } catch (error) {
    return downBy(error as Error);
  }
}

/** Counts a node's vote, and tells redlock of it in its way: an exception is a vote against. */
async function voteIn(
  round: Round,
  node: number,
  token: string,
  claim: Promise<ClaimVote>,
): Promise<void> {
  round.token = token;
  round.votes[node] = claim;
  const vote = await claim;
  round.ballot.cast(node, vote);
  if (vote.kind !== "granted") throw TAKEN;
}

/**
 * Where a claim was refused there is nothing to give back, and a replay costs no second command. A node that did not answer
 * may have granted it, and would refuse the retry for a whole lease.
 */
async function isInVain({ ballot, votes }: Round, node: number): Promise<boolean> {
  const [vote, { state }] = await Promise.all([votes[node], ballot.verdict]);
  if (vote?.kind === "down") return true;
  return vote?.kind === "granted" && state !== "adopt" && state !== "completed";
}

/** How the nodes voted, once all have, where redlock found no majority. */
async function defeat(error: unknown): Promise<ExecutionStats> {
  if (!(error instanceof ExecutionError)) throw error;
  return (await error.attempts[0]) ?? { votesFor: new Set(), votesAgainst: new Map() };
}

/** One error for what several nodes said. */
export function unavailable(operation: string, errors: readonly Error[]): StoreUnavailableError {
  const said = errors.map(({ message }) => message).join("; ");
  return new StoreUnavailableError(
    `The quorum's ${operation} did not reach a majority of nodes. ${said}`.trimEnd(),
    { cause: new AggregateError(errors) },
  );
}
