/** The one fan-out: votes come in one by one, and the first that decides ends the wait. */
import type { Down } from "./decisions.js";
import { downBy, type Voter } from "./voter.js";

export class Ballot<Vote, Verdict> {
  readonly votes: (Vote | Down | undefined)[];
  readonly verdict: Promise<Verdict>;
  /** Where nobody is asked. */
  fail!: (error: unknown) => void;
  readonly #decide: (votes: readonly (Vote | Down | undefined)[]) => Verdict | undefined;
  #resolve!: (verdict: Verdict) => void;

  /** @param decide Must decide at the latest when no vote is out. */
  constructor(
    nodes: number,
    decide: (votes: readonly (Vote | Down | undefined)[]) => Verdict | undefined,
  ) {
    this.votes = Array.from({ length: nodes }, () => undefined);
    this.#decide = decide;
    this.verdict = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.fail = reject;
    });
  }

  cast(node: number, vote: Vote | Down): void {
    this.votes[node] = vote;
    const verdict = this.#decide(this.votes);
    if (verdict !== undefined) this.#resolve(verdict);
  }
}

/** Asks every node at once; a node that fails votes `down`. */
export function poll<Vote, Verdict>(
  voters: readonly Voter[],
  ask: (voter: Voter, node: number) => Promise<Vote | Down>,
  decide: (votes: readonly (Vote | Down | undefined)[]) => Verdict | undefined,
): Promise<Verdict> {
  const ballot = new Ballot<Vote, Verdict>(voters.length, decide);
  for (const [node, voter] of voters.entries()) {
    ask(voter, node).then(
      (vote) => ballot.cast(node, vote),
      (error: Error) => ballot.cast(node, downBy(error)),
    );
  }
  return ballot.verdict;
}
