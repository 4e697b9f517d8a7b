/** Visits every state that a model can reach, nodes taken for the same where they hold and have heard the same. */
import type { RecordModel } from "./record-model.js";
import type { NodeState, Phase, State, View, Vote } from "./record-steps.js";

export interface Exploration {
  readonly states: number;
  /** `false`: there are more than were asked for. */
  readonly isExhaustive: boolean;
  /** States in which every node holds another record: for an operator to decide. */
  readonly wedged: number;
  /** The shortest way to what must not happen. */
  readonly violation?: readonly string[];
}

interface Visit {
  readonly state: State;
  readonly says: string;
  readonly from: Visit | undefined;
}

/** Breadth first, so that the way to a violation is the shortest. */
export function explore(model: RecordModel, mostStates: number): Exploration {
  const seen = new Set([keyOf(model.start)]);
  let layer: Visit[] = [{ state: model.start, says: "start", from: undefined }];
  let wedged = 0;
  while (layer.length > 0) {
    const next: Visit[] = [];
    for (const visit of layer) {
      for (const { says, to, breaks } of model.steps(visit.state)) {
        if (breaks !== undefined) return { ...counts(), violation: wayTo(visit, says, breaks) };
        const key = keyOf(to);
        if (seen.has(key)) continue;
        seen.add(key);
        const wrong = model.wrongAtLast(to);
        if (wrong !== undefined) return { ...counts(), violation: wayTo(visit, says, wrong) };
        if (model.isWedged(to)) wedged += 1;
        if (seen.size >= mostStates) return { ...counts(), isExhaustive: false };
        next.push({ state: to, says, from: visit });
      }
    }
    layer = next;
  }
  return counts();

  function counts() {
    return { states: seen.size, isExhaustive: true, wedged };
  }
}

function wayTo(visit: Visit, ...end: readonly string[]): string[] {
  const way = [...end];
  for (let at: Visit | undefined = visit; at !== undefined; at = at.from) way.unshift(at.says);
  return way;
}

const PHASES: readonly Phase[] = ["idle", "claiming", "storing", "adopting", "over"];
const WORDS = ["none", "yes", "no", "down", "abstains", "lock 0", "lock 1", "lock 2", "lock 3"];
const WAYS: readonly View["sent"][] = ["no", "mine", "authors"];

/** One character for each part of a state; the same for states that differ in the order of nodes alone. */
function keyOf({ nodes, attempts, answered, hasForgotten }: State): string {
  const parts = attempts.map(({ phase, record, isLate }) =>
    String.fromCharCode(PHASES.indexOf(phase) * 16 + record * 2 + Number(isLate)),
  );
  const holds = nodes.map(nodeKey).toSorted();
  return `${holds.join("")}${parts.join("")}${answered.join("")}${hasForgotten ? "!" : ""}`;
}

function nodeKey({ lock, record, isOut, views }: NodeState): string {
  const holds = isOut === true ? 1 : 2 + (lock ?? -1) + 1 + 8 * ((record ?? -1) + 1);
  const heard = views.map(({ sent, vote }) => WAYS.length * voteCode(vote) + WAYS.indexOf(sent));
  return String.fromCharCode(holds, ...heard);
}

function voteCode(vote: Vote): number {
  return typeof vote === "number" ? WORDS.length + vote : WORDS.indexOf(vote);
}
