/** A violation as somebody reads it who has to find out why: everything that is known of its key, in order. */
import type { History, RequestEntry, Violation } from "../history.js";
import type { RoundResult } from "./round.js";

export function describeViolations({ violations, history, options, faults }: RoundResult): string {
  const { store, seed, round, kinds, roundMs, keysPerSecond } = options;
  const keys = [...new Set(violations.map(({ key }) => key))];
  const parts = keys.map((key) => {
    const broken = violations.filter((it) => it.key === key);
    const said = broken.map(({ promise, says }: Violation) => `${promise}: ${says}`);
    return [`Key ${key}`, ...said, ...timelineOf(key, history)].join("\n  ");
  });
  const replay =
    `npm run faults -- --store ${store} --seed ${seed} --round ${round} ` +
    `--faults ${kinds.join()} --round-seconds ${roundMs / 1_000} --rate ${keysPerSecond}`;
  const plan = faults.map(
    ({ kind, atMs, forMs, place, nodes, way }) =>
      `${atMs} ${kind} for ${forMs}, process ${"ABCDEFGH".charAt(place)}, nodes ${nodes.join() || "-"}, ${way}`,
  );
  return [...parts, ["Faults", ...plan].join("\n  "), `Replay: ${replay}`].join("\n");
}

function timelineOf(key: string, { requests, executions, events }: History): string[] {
  const lines: [at: number, says: string][] = [];
  const note = (at: number | undefined, says: string): void => {
    if (at !== undefined) lines.push([at, says]);
  };
  for (const request of requests.filter((it) => it.key === key)) noteRequest(request, note);
  for (const execution of executions.filter((it) => it.key === key)) {
    const { token, process, answer, end } = execution;
    const who = `execution ${token.slice(0, 8)} in ${process}`;
    note(execution.claimedAt, `${who} asks for its lease`);
    note(execution.startedAt, `${who} starts`);
    for (const at of execution.renewedAt) note(at, `${who} renews`);
    note(execution.endedAt, `${who} ${end ?? "ends"} ${answer ?? ""}`);
    note(execution.crashedAt, `${who} has died`);
  }
  for (const { at, process, type, reason } of events.filter((it) => it.key === key)) {
    note(at, `${process} says ${type} ${reason ?? ""}`);
  }
  return lines
    .toSorted(([a], [b]) => a - b)
    .map(([at, says]) => `${at.toFixed(1)} ${says.trimEnd()}`);
}

function noteRequest(
  { id, invokedAt, completedAt, outcome, answer, fingerprint }: RequestEntry,
  note: (at: number | undefined, says: string) => void,
): void {
  note(invokedAt, `request ${id} (${fingerprint})${outcome === "unknown" ? ", unanswered" : ""}`);
  note(completedAt, `request ${id} is ${outcome} ${answer ?? ""}`);
}
