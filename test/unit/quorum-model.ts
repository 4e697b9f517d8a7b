/**
 * A quorum as a model: nodes that keep what their scripts keep, attempts that decide by the store's own functions, and
 * between them a network that is late, loses, doubles and reorders. There is no clock: a lease may be over at any time.
 */
import {
  decideClaim,
  decideStore,
  type ClaimVote,
  type StoreVote,
} from "../../stores/redlock/decisions.js";
import { readValue, recordValue, type RecordValue } from "../../stores/redis/value.js";

/** How often each thing happens, in percent; the rest are lost requests. */
const CALM = { start: 8, execute: 39, copy: 3, answer: 35, timeOut: 5, crash: 2, endLease: 6 };
const STORM = { start: 10, execute: 24, copy: 2, answer: 18, timeOut: 8, crash: 8, endLease: 14 };
const WEATHERS = [CALM, STORM];

const STEPS = 160;
const ATTEMPTS = 6;
const OFFERS = 2;
const NOW = 0;

interface Node {
  lock?: string | undefined;
  record?: RecordValue;
}

type Vote = ClaimVote | StoreVote;

/** One fan-out of an attempt: what it asks, and the votes so far. */
interface Round {
  readonly attempt: Attempt;
  readonly votes: (Vote | undefined)[];
  /** What is stored in this round; a claim stores nothing. */
  readonly record?: RecordValue;
}

interface Attempt {
  readonly token: string;
  round: Round | undefined;
  offers: number;
  /** What its claim came to. */
  outcome?: string;
}

interface Message {
  readonly round: Round | undefined;
  readonly node: number;
  readonly run: (node: Node) => Vote | undefined;
}

interface Reply {
  readonly round: Round;
  readonly node: number;
  readonly vote: Vote;
}

const DOWN: Vote = { kind: "down", error: new Error("no answer") };

/** @returns the records that anybody was answered with, and what a last claim gets when everything is quiet. */
export function runCluster(nodes: number, seed: number) {
  const world = new World(nodes, seed);
  for (let step = 0; step < STEPS; step += 1) world.step();
  return { answers: world.answers, last: world.lastClaim() };
}

class World {
  readonly answers: string[] = [];
  readonly #nodes: Node[];
  readonly #attempts = new Set<Attempt>();
  #requests: Message[] = [];
  #replies: Reply[] = [];
  readonly #weather: typeof CALM;
  #started = 0;
  #seed: number;

  constructor(nodes: number, seed: number) {
    this.#nodes = Array.from({ length: nodes }, () => ({}));
    this.#seed = seed;
    this.#weather = WEATHERS[this.#choose(WEATHERS.length)] ?? CALM;
  }

  step(): void {
    const { start, execute, copy, answer, timeOut, crash, endLease } = this.#weather;
    let fate = this.#choose(100);
    const happens = (percent: number): boolean => (fate -= percent) < 0;
    if (happens(start)) this.#startOneMore();
    else if (happens(execute)) this.#execute(true);
    else if (happens(copy)) this.#execute(false);
    else if (happens(answer)) this.#answer();
    else if (happens(timeOut)) this.#timeOut();
    else if (happens(crash)) this.#crash();
    else if (happens(endLease)) this.#endLease();
    else this.#pick(this.#requests, true);
  }

  /** Messages of the dead are lost, leases are over, and nothing goes wrong any more. */
  lastClaim(): string {
    this.#requests = [];
    this.#replies = [];
    this.#attempts.clear();
    for (const node of this.#nodes) node.lock = undefined;
    const before = this.answers.length;
    const attempt = this.#start();
    while (this.#requests.length + this.#replies.length > 0) {
      this.#execute(true);
      this.#answer();
    }
    const [answer] = this.answers.splice(before);
    return attempt.outcome ?? `answered ${answer}`;
  }

  #startOneMore(): void {
    if (this.#started < ATTEMPTS) this.#start();
  }

  #start(): Attempt {
    this.#started += 1;
    const attempt: Attempt = { token: `token-${this.#started}`, round: undefined, offers: 0 };
    this.#attempts.add(attempt);
    this.#fanOut(attempt, undefined, this.#nodes.keys(), claimBy(attempt.token));
    return attempt;
  }

  #fanOut(
    attempt: Attempt,
    record: RecordValue | undefined,
    to: Iterable<number>,
    run: Message["run"],
    votes: Round["votes"] = this.#nodes.map(() => undefined),
  ): void {
    const round: Round = { attempt, votes, ...(record && { record }) };
    attempt.round = round;
    for (const node of to) this.#requests.push({ round, node, run });
    this.#decide(round);
  }

  /** A request reaches its node; `last: false` delivers a copy of it. */
  #execute(last: boolean): void {
    const message = this.#pick(this.#requests, last);
    if (message === undefined) return;
    const { round, node, run } = message;
    const vote = run(this.#nodes[node] as Node);
    if (round !== undefined && vote !== undefined) this.#replies.push({ round, node, vote });
  }

  #answer(): void {
    const reply = this.#pick(this.#replies, true);
    if (reply === undefined) return;
    const { round, node, vote } = reply;
    const { token } = round.attempt;
    if (round.votes[node] !== undefined) {
      if (vote.kind === "granted") this.#release(token, [node]);
      return;
    }
    this.#cast(round, node, vote);
  }

  #timeOut(): void {
    const attempt = this.#pick([...this.#attempts], false);
    const round = attempt?.round;
    const node = this.#choose(this.#nodes.length);
    if (round !== undefined && round.votes[node] === undefined) this.#cast(round, node, DOWN);
  }

  #crash(): void {
    const attempt = this.#pick([...this.#attempts], false);
    if (attempt !== undefined) this.#end(attempt);
  }

  #endLease(): void {
    const node = this.#nodes[this.#choose(this.#nodes.length)];
    if (node !== undefined) node.lock = undefined;
  }

  #cast(round: Round, node: number, vote: Vote): void {
    round.votes[node] = vote;
    this.#decide(round);
  }

  #decide(round: Round): void {
    // Of a dead attempt, or one that has decided.
    if (round.attempt.round !== round) return;
    if (round.record === undefined) this.#decideClaim(round);
    else this.#decideStore(round, round.record);
  }

  #decideClaim({ attempt, votes }: Round): void {
    const verdict = decideClaim(votes as (ClaimVote | undefined)[], NOW);
    if (verdict === undefined) return;
    switch (verdict.state) {
      case "acquired":
        attempt.outcome = "acquired";
        return this.#offer(attempt, recordBy(attempt.token));
      case "completed":
        this.answers.push(verdict.record.token);
        this.#end(attempt);
        return this.#spread(attempt.token, votes, verdict.record);
      case "adopt":
        return this.#adopt(attempt, votes, verdict.record);
      case "in-progress":
      case "wedged":
      case "unavailable":
        attempt.outcome = verdict.state;
        this.#giveUp(attempt, votes);
        return;
      default:
        throw new Error(`Bug! Unknown verdict ${JSON.stringify(verdict satisfies never)}`);
    }
  }

  /** Nodes that missed the record get it; nobody waits for that. */
  #spread(token: string, votes: Round["votes"], record: RecordValue): void {
    for (const [node, vote] of votes.entries()) {
      if (vote?.kind !== "granted") continue;
      this.#requests.push({ round: undefined, node, run: storeOf(token, record) });
    }
  }

  #offer(attempt: Attempt, record: RecordValue): void {
    attempt.offers += 1;
    this.#fanOut(attempt, record, this.#nodes.keys(), storeOf(attempt.token, record));
  }

  #adopt(attempt: Attempt, claims: Round["votes"], record: RecordValue): void {
    attempt.offers = OFFERS;
    const votes = claims.map((vote): Vote | undefined => {
      if (vote?.kind === "granted") return undefined;
      if (vote?.kind === "lock") return { kind: "held" };
      return vote?.kind === "record" && vote.bytes.equals(record.bytes) ? { kind: "stored" } : vote;
    });
    const mine = votes.flatMap((vote, node) => (vote === undefined ? [node] : []));
    this.#fanOut(attempt, record, mine, storeOf(attempt.token, record), votes);
  }

  #decideStore({ attempt, votes }: Round, record: RecordValue): void {
    const verdict = decideStore(votes as (StoreVote | undefined)[]);
    if (verdict === undefined) return;
    if (verdict.state === "unavailable" && attempt.offers < OFFERS) {
      this.#offer(attempt, record);
      return;
    }
    if (verdict.state === "stored") this.answers.push(record.token);
    if (verdict.state === "lost" && verdict.winner) this.answers.push(verdict.winner.token);
    this.#giveUp(attempt, votes);
  }

  #giveUp(attempt: Attempt, votes: Round["votes"]): void {
    this.#end(attempt);
    const refused = new Set(["lock", "record"]);
    this.#release(
      attempt.token,
      votes.flatMap((vote, node) => (refused.has(vote?.kind ?? "") ? [] : [node])),
    );
  }

  #release(token: string, nodes: readonly number[]): void {
    for (const node of nodes) {
      const run = (at: Node): undefined => {
        if (at.lock === token) at.lock = undefined;
      };
      this.#requests.push({ round: undefined, node, run });
    }
  }

  #end(attempt: Attempt): void {
    attempt.round = undefined;
    this.#attempts.delete(attempt);
  }

  #pick<T>(from: T[], remove: boolean): T | undefined {
    if (from.length === 0) return undefined;
    const at = this.#choose(from.length);
    return remove ? from.splice(at, 1)[0] : from[at];
  }

  /** Mulberry32: small, and even enough for choices. */
  #choose(below: number): number {
    this.#seed = (this.#seed + 0x6d_2b_79_f5) | 0;
    let mixed = Math.imul(this.#seed ^ (this.#seed >>> 15), 1 | this.#seed);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  }
}

/** As `SET key lock NX GET`. */
function claimBy(token: string): Message["run"] {
  return (node) => {
    if (node.record !== undefined) return node.record;
    const holder = node.lock;
    if (holder !== undefined && holder !== token) {
      return { kind: "lock", token: holder, leaseMs: 1, fingerprint: "fingerprint" };
    }
    node.lock = token;
    return { kind: "granted" };
  };
}

/** As the script STORE. */
function storeOf(token: string, record: RecordValue): Message["run"] {
  return (node) => {
    if (node.record !== undefined) {
      return node.record.token === record.token ? { kind: "stored" } : node.record;
    }
    if (node.lock !== undefined && node.lock !== token) return { kind: "held" };
    node.lock = undefined;
    node.record = record;
    return { kind: "stored" };
  };
}

function recordBy(token: string): RecordValue {
  const response = {
    statusCode: 201,
    headers: [],
    body: Buffer.from(`executed by ${token}`),
    timestamp: 0,
    expiresAt: NOW + 1,
    fingerprint: "fingerprint",
  };
  return readValue(recordValue({ token, response })) as RecordValue;
}
