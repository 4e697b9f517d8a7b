/** The states of the record model, and the steps from one to the next. */
/** One attempt's view of one node: under whose lock a record was sent to it, if any, and what it last answered. */
export interface View {
  readonly sent: "no" | "mine" | "authors";
  readonly vote: Vote;
}

/** `yes`: granted, or stored. `no`: not stored, for another's lock. `lock`: of that attempt. A number: the record of that attempt. */
export type Vote = "none" | "yes" | "no" | "down" | "abstains" | `lock ${number}` | number;

export type Phase = "idle" | "claiming" | "storing" | "adopting" | "over";

export interface AttemptState {
  readonly phase: Phase;
  /** Whose record it stores. */
  readonly record: number;
  /** Whether somebody had been answered before it began. */
  readonly isLate: boolean;
}

export interface NodeState {
  readonly lock?: number | undefined;
  readonly record?: number | undefined;
  readonly isOut?: boolean;
  /** By attempt. */
  readonly views: readonly View[];
}

export interface State {
  readonly nodes: readonly NodeState[];
  readonly attempts: readonly AttemptState[];
  /** Whose records somebody was answered with. */
  readonly answered: readonly number[];
  readonly hasForgotten: boolean;
}

export interface Step {
  readonly says: string;
  readonly to: State;
  /** What must not have happened on the way. */
  readonly breaks?: string;
}

/** As `SET key lock NX GET`. */
export function claimAt(node: NodeState, attempt: number): { node: NodeState; vote: Vote } {
  if (node.record !== undefined) return { node, vote: node.record };
  if (node.lock !== undefined && node.lock !== attempt) return { node, vote: `lock ${node.lock}` };
  return { node: { ...node, lock: attempt }, vote: "yes" };
}

/** As the script STORE. */
export function storeAt(
  node: NodeState,
  holder: number,
  record: number,
): { node: NodeState; vote: Vote } {
  if (node.record !== undefined)
    return { node, vote: node.record === record ? "yes" : node.record };
  if (node.lock !== undefined && node.lock !== holder) return { node, vote: "no" };
  return { node: { ...node, lock: undefined, record }, vote: "yes" };
}

export function* arrived(
  state: State,
  attempt: number,
  at: number,
  { node, vote }: { node: NodeState; vote: Vote },
  isHeard: boolean,
  what: string,
): Iterable<Step> {
  const view = node.views[attempt] as View;
  const isNews = isHeard && view.vote !== vote;
  if (node === state.nodes[at] && !isNews) return;
  const views = isNews ? node.views.with(attempt, { ...view, vote }) : node.views;
  const to = { ...state, nodes: state.nodes.with(at, { ...node, views }) };
  yield { says: `the ${what} of attempt ${attempt} arrives at node ${at}: ${vote}`, to };
}

export function begun(state: State, attempt: number): Step {
  const isLate = state.answered.length > 0;
  const to = state.attempts.with(attempt, { phase: "claiming", record: 0, isLate });
  return { says: `attempt ${attempt} begins`, to: { ...state, attempts: to } };
}

export function leaseEnded(state: State, at: number): Step {
  const node = { ...(state.nodes[at] as NodeState), lock: undefined };
  return {
    says: `a lease ends on node ${at}`,
    to: { ...state, nodes: state.nodes.with(at, node) },
  };
}

export function forgotten(state: State, at: number, abstains: boolean): Step {
  const { views } = state.nodes[at] as NodeState;
  const node = abstains ? { views, isOut: true } : { views };
  const to = { ...state, nodes: state.nodes.with(at, node), hasForgotten: true };
  return { says: `node ${at} loses its data`, to };
}

export function answering(says: string, to: State, record: number): Step {
  const answered = to.answered.includes(record) ? to.answered : [...to.answered, record];
  const step = {
    says: `${says}: answered`,
    to: { ...to, answered: answered.toSorted((a, b) => a - b) },
  };
  return answered.length > 1 ? { ...step, breaks: "two answers" } : step;
}

/** Into a phase in which a record is sent to some nodes. */
export function sending(
  state: State,
  attempt: number,
  phase: Phase,
  record: number,
  sentTo: (node: number) => View["sent"],
  vote: (node: number) => Vote,
): State {
  const { isLate } = state.attempts[attempt] as AttemptState;
  return {
    ...state,
    attempts: state.attempts.with(attempt, { phase, record, isLate }),
    nodes: state.nodes.map((node, at) => {
      const view = { sent: sentTo(at), vote: phase === "over" ? "none" : vote(at) } as const;
      return withView(node, attempt, view);
    }),
  };
}

function withView(node: NodeState, attempt: number, view: View): NodeState {
  return { ...node, views: node.views.with(attempt, view) };
}

/** What it heard no longer matters; what it sent may still arrive. */
export function over(state: State, attempt: number): State {
  const { record } = state.attempts[attempt] as AttemptState;
  const sentBefore = (node: number): View["sent"] =>
    state.nodes[node]?.views[attempt]?.sent ?? "no";
  return sending(state, attempt, "over", record, sentBefore, () => "none");
}

/** Where a record of another attempt goes: to the nodes that granted, and in the place of its author's lock. */
export function reach(
  votes: readonly (Vote | undefined)[],
  record: number,
): (node: number) => View["sent"] {
  return (node) => {
    if (votes[node] === "yes") return "mine";
    return votes[node] === `lock ${record}` ? "authors" : "no";
  };
}

/** Every way to have heard of these replies: each that exists in time, not yet, or never. */
export function hearings(votes: readonly Vote[]): readonly (readonly (Vote | undefined)[])[] {
  let all: (Vote | undefined)[][] = [[]];
  for (const vote of votes) {
    const isOut = vote === "none" || vote === "down";
    const ways = isOut ? [undefined, "down" as const] : [vote, undefined, "down" as const];
    all = all.flatMap((some) => ways.map((way) => some.concat([way])));
  }
  return all;
}
