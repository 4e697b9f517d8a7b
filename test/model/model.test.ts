/** Every state of the record protocol that two attempts on three nodes can reach; longer runs: `npm run model`. */
import { describe, expect, it } from "vitest";
import { decideClaim, decideStore, majorityOf } from "../../stores/redlock/decisions.js";
import { explore } from "./explorer.js";
import { RecordModel, type Decisions, type ModelOptions } from "./record-model.js";

const MOST_STATES = 100_000;
const REAL: Decisions = { decideClaim, decideStore };

function explored(options: Partial<ModelOptions> = {}) {
  const model = new RecordModel({
    nodes: 3,
    attempts: 2,
    amnesia: "never",
    decisions: REAL,
    ...options,
  });
  return explore(model, MOST_STATES);
}

/** Mistakes in the decisions, and what each must lead to. */
const BROKEN: Readonly<Record<string, Partial<Decisions>>> = {
  "a record is answered before a majority stored it": {
    decideStore: (votes) =>
      votes.some((vote) => vote?.kind === "stored") ? { state: "stored" } : decideStore(votes),
  },
  "a record is answered by a majority of those who voted": {
    decideStore: (votes) => {
      const heard = votes.filter((vote) => vote !== undefined && vote.kind !== "down");
      const stored = heard.filter((vote) => vote?.kind === "stored").length;
      return heard.length > 0 && stored >= majorityOf(heard.length)
        ? { state: "stored" }
        : decideStore(votes);
    },
  },
  "a claim is granted without hearing of records": {
    decideClaim: (votes, now) => {
      const granted = votes.filter((vote) => vote?.kind === "granted").length;
      return granted >= 1 ? { state: "acquired" } : decideClaim(votes, now);
    },
  },
  "a minority's record blocks its key": {
    decideClaim: (votes, now) => {
      const verdict = decideClaim(votes, now);
      return verdict?.state === "adopt"
        ? { state: "in-progress", lock: undefined, split: false }
        : verdict;
    },
  },
  "who loses answers with its own result": {
    decideStore: (votes) => {
      const verdict = decideStore(votes);
      return verdict?.state === "lost" ? { state: "stored" } : verdict;
    },
  },
};

describe("in every state that two attempts on three nodes can reach", () => {
  it.each([false, true])(
    "there is one answer, and a way on (later tokens first: %s)",
    (order) => {
      const { states, isExhaustive, violation } = explored({ laterTokensFirst: order });
      expect(violation).toBeUndefined();
      expect(isExhaustive).toBe(true);
      expect(states).toBeGreaterThan(5_000);
    },
    60_000,
  );

  it("a node without its data costs the answer", () => {
    expect(explored({ amnesia: "forgets" }).violation).toContain("node 0 loses its data");
  }, 60_000);

  it("a node without its data that abstains costs nothing", () => {
    const { isExhaustive, violation } = explored({ amnesia: "abstains" });
    expect(violation).toBeUndefined();
    expect(isExhaustive).toBe(true);
  }, 60_000);

  it.each(Object.entries(BROKEN))(
    "the model finds that %s",
    (_, broken) => {
      expect(explored({ decisions: { ...REAL, ...broken } }).violation).toBeDefined();
    },
    60_000,
  );
});

describe("as docs/guarantees.md has it", () => {
  it.each([
    ["never", 7_764, 0],
    ["abstains", 19_734, 141],
  ] as const)(
    "a node that loses its data: %s, %i states, %i of them for an operator",
    (amnesia, states, wedged) => {
      expect(explored({ amnesia })).toEqual({ states, wedged, isExhaustive: true });
    },
    60_000,
  );

  it("a node that goes on without its data is found after 6,506 states", () => {
    expect(explored({ amnesia: "forgets" }).states).toBe(6_506);
  }, 60_000);
});
