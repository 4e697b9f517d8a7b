/**
 * The quorum's record protocol as a machine of finitely many states: what nodes hold, what attempts have heard, and what is
 * under way between them. It decides by the store's own functions. It has no clock, so that everything may happen at any
 * time: a lease ends, a request arrives late, again, or never, a reply is late or lost, an attempt stops for ever.
 *
 * Why so few kinds of step are enough: a release is a lease that ends; a crash is an attempt that takes no further step; a
 * lost message is one that takes none; and what is heard late is heard when it is decided upon, so that a decision may
 * take every reply that exists as heard, still out, or timed out.
 */
import type * as decisions from "../../stores/redlock/decisions.js";
import type {
  ClaimVerdict,
  ClaimVote,
  StoreVerdict,
  StoreVote,
} from "../../stores/redlock/decisions.js";
import { readValue, recordValue, type RecordValue } from "../../stores/redis/value.js";
import {
  answering,
  arrived,
  begun,
  claimAt,
  forgotten,
  hearings,
  leaseEnded,
  over,
  reach,
  sending,
  storeAt,
  type AttemptState,
  type NodeState,
  type State,
  type Step,
  type View,
  type Vote,
} from "./record-steps.js";

export type Decisions = Pick<typeof decisions, "decideClaim" | "decideStore">;

export interface ModelOptions {
  readonly nodes: number;
  readonly attempts: number;
  /** Whether one node may lose its data, once, and whether it then abstains for as long as records live. */
  readonly amnesia: "never" | "forgets" | "abstains";
  readonly decisions: Decisions;
  /** Ties between records are broken by their bytes: whether later attempts win them. */
  readonly laterTokensFirst?: boolean;
}

const NOW = 0;
const UNSEEN: View = { sent: "no", vote: "none" };
const DOWN = { kind: "down", error: new Error("no answer") } as const;
const ABSTAINS = { ...DOWN, abstains: true } as const;
const HELD = { kind: "held" } as const;
const LOCK = { kind: "lock", leaseMs: 1, fingerprint: "same" } as const;
const LOCKED = "lock ";

export class RecordModel {
  readonly #options: ModelOptions;
  readonly #records: readonly RecordValue[];
  /** Verdicts by votes: there are few of them, and asked for in every state. */
  readonly #claims = new Map<string, ClaimVerdict | undefined>();
  readonly #stores = new Map<string, StoreVerdict | undefined>();

  constructor(options: ModelOptions) {
    this.#options = options;
    const { attempts, laterTokensFirst = false } = options;
    this.#records = Array.from({ length: attempts }, (_, attempt) =>
      recordOf(`token-${laterTokensFirst ? attempts - attempt : attempt}`),
    );
  }

  get start(): State {
    const { nodes, attempts } = this.#options;
    const views = Array.from({ length: attempts }, () => UNSEEN);
    return {
      nodes: Array.from({ length: nodes }, () => ({ views })),
      attempts: Array.from({ length: attempts }, () => {
        return { phase: "idle", record: 0, isLate: false } as const;
      }),
      answered: [],
      hasForgotten: false,
    };
  }

  *steps(state: State): Iterable<Step> {
    const next = state.attempts.findIndex(({ phase }) => phase === "idle");
    // Only the first of those that have not begun: they differ in nothing yet.
    if (next !== -1) yield begun(state, next);
    for (const [node, { lock, isOut }] of state.nodes.entries()) {
      if (isOut === true) continue;
      if (lock !== undefined) yield leaseEnded(state, node);
      for (const attempt of state.attempts.keys()) yield* this.#arrivals(state, attempt, node);
      if (this.#options.amnesia !== "never" && !state.hasForgotten) {
        yield forgotten(state, node, this.#options.amnesia === "abstains");
      }
    }
    for (const attempt of state.attempts.keys()) yield* this.#decisions(state, attempt);
  }

  /** What the next claim would get if nothing failed any more; nothing where that is right. */
  wrongAtLast({ nodes, answered }: State): string | undefined {
    const votes = nodes.map(({ record, isOut }) =>
      isOut === true ? "abstains" : (record ?? "yes"),
    );
    const verdict = this.#claimVerdict(votes);
    switch (verdict?.state) {
      case "acquired":
        return answered.length > 0 ? "what was answered can be executed again" : undefined;
      case "adopt":
      case "completed": {
        const [first] = answered;
        const isOther =
          first !== undefined && !verdict.record.bytes.equals(this.#record(first).bytes);
        return isOther ? "what was answered is followed by another answer" : undefined;
      }
      case "wedged": {
        // What stood on a node that forgot it may have been answered: the operator has to find out.
        const isForgotten = nodes.some(({ isOut }) => isOut === true);
        return answered.length > 0 && !isForgotten
          ? "what was answered cannot be answered again"
          : undefined;
      }
      case "in-progress":
        return "nobody is at work, and the key is held";
      case "unavailable":
        return "the key cannot be asked";
      case undefined:
        return "all have voted, and nothing is decided";
      default:
        throw new Error(`Bug! Unknown verdict ${JSON.stringify(verdict satisfies never)}`);
    }
  }

  isWedged({ nodes }: State): boolean {
    const held = nodes.filter(({ isOut }) => isOut !== true).map(({ record }) => record);
    return !held.includes(undefined) && new Set(held).size === held.length;
  }

  /** Claims and records that have been sent may arrive at any time, again too. */
  *#arrivals(state: State, attempt: number, at: number): Iterable<Step> {
    const node = state.nodes[at] as NodeState;
    const { phase, record } = state.attempts[attempt] as AttemptState;
    if (phase === "idle") return;
    const claimed = claimAt(node, attempt);
    yield* arrived(state, attempt, at, claimed, phase === "claiming", "claim");
    const { sent } = node.views[attempt] as View;
    if (sent !== "no") {
      const stored = storeAt(node, sent === "authors" ? record : attempt, record);
      const isHeard = phase === "storing" || phase === "adopting";
      yield* arrived(state, attempt, at, stored, isHeard, "record");
    }
  }

  *#decisions(state: State, attempt: number): Iterable<Step> {
    const { phase } = state.attempts[attempt] as AttemptState;
    if (phase === "idle" || phase === "over") return;
    const heard = state.nodes.map(({ views }) => (views[attempt] as View).vote);
    for (const votes of hearings(heard)) {
      const step =
        phase === "claiming"
          ? this.#claimed(state, attempt, votes)
          : this.#stored(state, attempt, votes);
      if (step !== undefined) yield* step;
    }
  }

  #claimed(
    state: State,
    attempt: number,
    votes: readonly (Vote | undefined)[],
  ): Step[] | undefined {
    const verdict = this.#claimVerdict(votes);
    if (verdict === undefined) return undefined;
    const says = `attempt ${attempt}: ${verdict.state} by ${votes.join(" ")}`;
    switch (verdict.state) {
      case "acquired": {
        const { isLate } = state.attempts[attempt] as AttemptState;
        const to = sending(
          state,
          attempt,
          "storing",
          attempt,
          () => "mine",
          () => "none",
        );
        const failed = { says: `${says}, and its handler fails`, to: over(state, attempt) };
        if (!isLate) return [{ says, to }, failed];
        return [{ says, to, breaks: "executed although the key had been answered before" }];
      }
      case "completed": {
        const record = this.#indexOf(verdict.record);
        // Nodes that missed it get it.
        const spread = sending(state, attempt, "over", record, reach(votes, record), () => "none");
        return [answering(says, spread, record)];
      }
      case "adopt": {
        const record = this.#indexOf(verdict.record);
        const sentTo = reach(votes, record);
        const vote = (node: number): Vote => {
          const seen = votes[node] as Vote;
          if (sentTo(node) !== "no") return "none";
          if (seen === record) return "yes";
          return isLock(seen) ? "no" : seen;
        };
        return [{ says, to: sending(state, attempt, "adopting", record, sentTo, vote) }];
      }
      case "in-progress":
      case "wedged":
      case "unavailable":
        return [{ says, to: over(state, attempt) }];
      default:
        throw new Error(`Bug! Unknown verdict ${JSON.stringify(verdict satisfies never)}`);
    }
  }

  #stored(state: State, attempt: number, votes: readonly (Vote | undefined)[]): Step[] | undefined {
    const { phase, record } = state.attempts[attempt] as AttemptState;
    const { decideStore } = this.#options.decisions;
    const verdict = once(this.#stores, votes.join(" "), () => {
      const asked = votes.map((vote) => (vote === "no" ? HELD : this.#vote(vote, "stored")));
      return decideStore(asked as StoreVote[]);
    });
    if (verdict === undefined) return undefined;
    const says = `attempt ${attempt}: record ${record} ${verdict.state} by ${votes.join(" ")}`;
    if (verdict.state === "stored") return [answering(says, over(state, attempt), record)];
    if (verdict.state === "lost" && verdict.winner !== undefined) {
      return [answering(says, over(state, attempt), this.#indexOf(verdict.winner))];
    }
    // Offered again: the same messages, which may arrive again anyway.
    if (verdict.state === "unavailable" && phase === "storing") return undefined;
    return [{ says, to: over(state, attempt) }];
  }

  #claimVerdict(votes: readonly (Vote | undefined)[]): ClaimVerdict | undefined {
    const { decideClaim } = this.#options.decisions;
    return once(this.#claims, votes.join(" "), () => {
      const asked = votes.map((vote) => this.#vote(vote, "granted"));
      return decideClaim(asked as ClaimVote[], NOW);
    });
  }

  #vote(vote: Vote | undefined, yes: string): unknown {
    if (vote === undefined) return undefined;
    if (vote === "down") return DOWN;
    if (vote === "abstains") return ABSTAINS;
    if (isLock(vote))
      return { ...LOCK, token: this.#record(Number(vote.slice(LOCKED.length))).token };
    return typeof vote === "number" ? this.#record(vote) : { kind: yes };
  }

  #record(attempt: number): RecordValue {
    return this.#records[attempt] as RecordValue;
  }

  #indexOf({ token }: RecordValue): number {
    return this.#records.findIndex((record) => record.token === token);
  }
}

function isLock(vote: Vote): vote is `lock ${number}` {
  return typeof vote === "string" && vote.startsWith(LOCKED);
}

function once<T>(known: Map<string, T>, key: string, make: () => T): T {
  const found = known.get(key);
  if (found !== undefined || known.has(key)) return found as T;
  const made = make();
  known.set(key, made);
  return made;
}

function recordOf(token: string): RecordValue {
  const response = {
    statusCode: 201,
    headers: [],
    body: Buffer.from(token),
    timestamp: NOW,
    expiresAt: NOW + 1,
    fingerprint: "same",
  };
  return readValue(recordValue({ token, response })) as RecordValue;
}
