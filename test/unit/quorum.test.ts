/** What votes mean (DESIGN, section 5): the rules as a table, as properties, and in a small cluster where all goes wrong. */
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  decideClaim,
  decideRead,
  decideStore,
  majorityOf,
  type ClaimVote,
  type ReadVote,
  type StoreVote,
} from "../../stores/redlock/decisions.js";
import { readValue, recordValue, type RecordValue } from "../../stores/redis/value.js";
import { runCluster } from "./quorum-model.js";

const NOW = 1_000_000;

/** One letter for what one node said. */
const VOTES: Readonly<Record<string, ClaimVote | ReadVote | StoreVote | undefined>> = {
  g: { kind: "granted" },
  e: { kind: "empty" },
  s: { kind: "stored" },
  l: { kind: "lapsed" },
  h: { kind: "held" },
  x: { kind: "lock", token: "x", leaseMs: 9_000, fingerprint: "of-x" },
  y: { kind: "lock", token: "y", leaseMs: 9_000, fingerprint: "of-y" },
  A: recordOf("A"),
  B: recordOf("B"),
  C: recordOf("C"),
  a: recordOf("a", NOW),
  "!": { kind: "down", error: new Error("no answer") },
  "?": undefined,
};

function recordOf(token: string, expiresAt = NOW + 1): RecordValue {
  const response = {
    statusCode: 201,
    headers: [],
    body: Buffer.from(`by ${token}`),
    timestamp: 0,
    expiresAt,
    fingerprint: "fingerprint",
  };
  return readValue(recordValue({ token, response })) as RecordValue;
}

function votes<Vote>(letters: string): (Vote | undefined)[] {
  return Array.from(letters).map((letter) => VOTES[letter] as Vote | undefined);
}

/** A verdict in a few words: what, and the letter of its record or lock. */
function claim(letters: string): string | undefined {
  const verdict = decideClaim(votes<ClaimVote>(letters), NOW);
  if (verdict === undefined) return undefined;
  if ("record" in verdict) return `${verdict.state} ${verdict.record.token}`;
  if (verdict.state !== "in-progress") return verdict.state;
  const what = verdict.split ? "split" : "held";
  return verdict.lock === undefined ? what : `${what} by ${verdict.lock.token}`;
}

function store(letters: string): string | undefined {
  const verdict = decideStore(votes<StoreVote>(letters));
  if (verdict?.state === "stored" && verdict.lapsed === true) return "lapsed";
  if (verdict?.state !== "lost") return verdict?.state;
  return verdict.winner === undefined ? "lost" : `lost to ${verdict.winner.token}`;
}

function read(letters: string): string | undefined {
  const verdict = decideRead(votes<ReadVote>(letters));
  return verdict?.state === "found" ? `found ${verdict.record.token}` : verdict?.state;
}

describe("a claim", () => {
  it.each([
    // Fresh: a majority of grants, and every node heard.
    ["granted by all is acquired", "ggg", "acquired"],
    ["granted by a majority is acquired, if the others are known to be silent", "gg!", "acquired"],
    ["waits for the last node, which may hold a record", "gg?", undefined],
    ["waits for every one of five", "ggg??", undefined],
    ["granted by a majority is acquired, though somebody else has the rest", "ggx", "acquired"],
    ["granted by three of five is acquired", "ggg!x", "acquired"],

    // Completed: a majority of equal bytes.
    ["that meets one record on all nodes replays it", "AAA", "completed A"],
    ["that meets a record on a majority replays it without waiting", "AA?", "completed A"],
    ["replays a majority's record, though another is somewhere", "AAB", "completed A"],
    ["of five replays what three hold", "BAgAA", "completed A"],
    ["meets no majority in two different records", "AB?", undefined],

    // Adopted: a minority's record that can reach a majority with my grants.
    ["adopts a record of one node, and never runs the request again", "Agg", "adopt A"],
    ["adopts with one grant where that makes a majority", "Ag!", "adopt A"],
    ["adopts with one grant, though another is at work", "Agx", "adopt A"],
    ["of five adopts what one holds with two grants", "Agg!!", "adopt A"],
    ["of five adopts what two hold with one grant", "AAg!x", "adopt A"],
    ["of two minority records takes the one that more nodes hold", "BBAgg", "adopt B"],
    ["of two minority records on as many nodes takes the same as everybody", "BAggg", "adopt A"],
    ["of three minority records takes the one that more nodes hold", "CABBg", "adopt B"],
    ["cannot adopt with too few grants, and says that it is in progress", "Axx", "held by x"],
    ["cannot adopt what it cannot bring to a majority", "AAxx!", "held"],

    // In progress.
    ["that meets a majority's holder is told so without waiting", "xx?", "held by x"],
    ["of which a silent node and a holder leave no majority may try again", "gx!", "split"],
    ["learns that nobody has a majority", "xy?", "split"],
    ["learns of a split as soon as no majority is left to win", "gxy", "split"],
    ["of five learns of a split", "ggxxy", "split"],
    ["of five may be granted, while one node is out", "gggx?", undefined],

    // Wedged: no record can ever reach a majority.
    ["meets three different records on three nodes", "ABC", "wedged"],
    ["of five meets two pairs and a third, one node silent", "ABCA!", "unavailable"],
    ["of five meets no record that could reach a majority", "AABBC", "wedged"],
    ["is not wedged while an empty node can decide", "ABg", "adopt A"],
    ["is not wedged while a holder's node can decide", "ABx", "held"],
    ["is not wedged by copies that are about to go", "aBC", "held"],

    // Unavailable.
    ["that a majority does not answer is unavailable", "g!!", "unavailable"],
    ["is unavailable where a silent node alone decides which record counts", "AB!", "unavailable"],
    ["with a majority silent waits for those still out", "!!?", undefined],
    ["of five with three silent is unavailable, whatever the others say", "AA!!!", "unavailable"],

    // Expired copies.
    ["is granted beside a minority's copy that has outlived its record", "agg", "acquired"],
    ["tries again while such copies keep it from a majority", "!ag", "split"],
    ["replays a majority's copies for as long as the nodes keep them", "aag", "completed a"],
    ["adopts the living one", "aAg", "adopt A"],
  ])("%s (%s)", (_, letters, expected) => {
    expect(claim(letters)).toBe(expected);
  });
});

describe("a response", () => {
  it.each([
    ["that a majority stored is stored, without waiting", "ss?", "stored"],
    ["that one node stored waits for the others", "s??", undefined],
    ["that two nodes stored, one of them without its lease, waits for the third", "sl?", undefined],
    ["whose lease a majority held all along is stored, though a node missed that", "sls", "stored"],
    ["whose lease a majority had let go had lapsed, without waiting", "ll?", "lapsed"],
    ["whose lease may have been let go by a majority had lapsed", "sl!", "lapsed"],
    ["whose lease was let go by a node, and is another's on the next, had lapsed", "slh", "lapsed"],
    ["that a majority stored is stored, though a node has another's", "ssA", "stored"],
    ["loses to the record of a majority, without waiting", "AA?", "lost to A"],
    ["loses to the record of a majority, though a node stored it", "sAA", "lost to A"],
    ["waits for the last node before it gives up", "hh?", undefined],
    ["loses to somebody who holds the key on a majority", "shh", "lost"],
    ["loses where nobody has a majority, and no silent node could give it one", "sAh", "lost"],
    ["loses to nobody yet where records differ", "ABs", "lost"],
    ["that silent nodes may have stored on a majority is offered again", "s!h", "unavailable"],
    ["that no node answered about is offered again", "!!!", "unavailable"],
    ["loses, whatever the silent node did", "hh!", "lost"],
    ["that three of five stored is stored", "sss??", "stored"],
    ["of five with two silent may be stored", "s!!hA", "unavailable"],
  ])("%s (%s)", (_, letters, expected) => {
    expect(store(letters)).toBe(expected);
  });
});

describe("a reader", () => {
  it.each([
    ["finds what a majority holds, without waiting", "AA?", "found A"],
    ["finds nothing where a majority holds nothing, without waiting", "ee?", "none"],
    ["finds nothing while somebody holds the key", "xx?", "none"],
    ["waits where the last node decides", "Ae?", undefined],
    ["does not find what only a minority holds: the next claim adopts it", "Aee", "none"],
    ["cannot tell where a silent node decides", "Ae!", "unavailable"],
    ["cannot tell with a majority silent", "e!!", "unavailable"],
    ["finds a majority's record, whatever one silent node holds", "AA!", "found A"],
    ["finds nothing in different records", "ABe", "none"],
    ["of five cannot tell what two silent nodes hold", "Aee!!", "unavailable"],
    ["of five finds nothing, as two silent nodes are no majority", "eee!!", "none"],
  ])("%s (%s)", (_, letters, expected) => {
    expect(read(letters)).toBe(expected);
  });
});

/** Any votes of 3 or 5 nodes, none of them out. */
function anyVotes(kinds: string): fc.Arbitrary<string> {
  return fc
    .constantFrom(3, 5)
    .chain((nodes) =>
      fc.array(fc.constantFrom(...Array.from(kinds)), { minLength: nodes, maxLength: nodes }),
    )
    .map((letters) => letters.join(""));
}

/** The same votes, some of them still out. */
function masked(letters: string, out: readonly boolean[]): string {
  return Array.from(letters)
    .map((letter, node) => (out[node] ? "?" : letter))
    .join("");
}

function holdersOf(letter: string, letters: string): number {
  return Array.from(letters).filter((other) => other === letter).length;
}

const claims = anyVotes("ggxyABCa!");
const stores = anyVotes("sshABC!");
const reads = anyVotes("eexAB!");
const outs = fc.array(fc.boolean(), { minLength: 5, maxLength: 5 });

/** What breaks the rule, made as small as it gets; nothing where the rule holds. */
function counterexample<T>(all: fc.Arbitrary<T>, holds: (one: T) => boolean, numRuns = 3_000) {
  return fc.check(fc.property(all, holds), { numRuns }).counterexample?.[0];
}

describe("whatever the votes,", () => {
  it.each([
    ["claim", claims, claim],
    ["store", stores, store],
    ["read", reads, read],
  ])("a complete %s is decided", (_, all, decide) => {
    expect(counterexample(all, (letters) => decide(letters) !== undefined)).toBeUndefined();
  });

  it("nothing is acquired while a living record is seen, nor without a majority of grants", () => {
    const holds = (letters: string): boolean =>
      claim(letters) !== "acquired" ||
      (!/[ABC]/.test(letters) && holdersOf("g", letters) >= majorityOf(letters.length));
    expect(counterexample(claims, holds)).toBeUndefined();
  });

  it.each([
    ["claim", claims, claim],
    ["store", stores, store],
    ["read", reads, read],
  ])("a %s answers a record only where a majority holds the same bytes", (_, all, decide) => {
    const holds = ([letters, out]: [string, boolean[]]): boolean => {
      const verdict = decide(masked(letters, out));
      const [, letter] = /(?:completed|found|lost to) (.)/.exec(verdict ?? "") ?? [];
      return letter === undefined || holdersOf(letter, letters) >= majorityOf(letters.length);
    };
    expect(counterexample(fc.tuple(all, outs), holds)).toBeUndefined();
  });

  it("a claim is never granted, nor a record adopted, before every node is heard", () => {
    const holds = ([letters, out]: [string, boolean[]]): boolean => {
      const heard = masked(letters, out);
      const early = claim(heard);
      return !heard.includes("?") || early === undefined || /^(completed|held|split)/.test(early);
    };
    expect(counterexample(fc.tuple(claims, outs), holds)).toBeUndefined();
  });

  it.each([
    // Whose lock it is may be seen better later, and nothing depends on it.
    [
      "claim",
      claims,
      (letters: string) => claim(letters)?.replace(/^(held|split).*/, "in progress"),
    ],
    ["store", stores, store],
    ["read", reads, read],
  ])("a %s decided early stands when the rest is heard", (_, all, decide) => {
    const holds = ([letters, out]: [string, boolean[]]): boolean => {
      const early = decide(masked(letters, out));
      return early === undefined || decide(letters) === early;
    };
    expect(counterexample(fc.tuple(all, outs), holds)).toBeUndefined();
  });

  it("everybody who sees the same adopts the same, in whatever order the nodes come", () => {
    const shuffled = claims.chain((letters) => {
      const all = Array.from(letters);
      const others = fc.shuffledSubarray(all, { minLength: all.length });
      return fc.tuple(fc.constant(letters), others);
    });
    const holds = ([letters, others]: [string, string[]]): boolean => {
      const verdict = claim(letters);
      return verdict?.startsWith("adopt") !== true || claim(others.join("")) === verdict;
    };
    expect(counterexample(shuffled, holds)).toBeUndefined();
  });

  it("what is adopted can reach a majority, so that no other record can have one", () => {
    const holds = (letters: string): boolean => {
      const [, letter] = /adopt (.)/.exec(claim(letters) ?? "") ?? [];
      if (letter === undefined) return true;
      const mine = holdersOf(letter, letters) + holdersOf("g", letters);
      return mine >= majorityOf(letters.length);
    };
    expect(counterexample(claims, holds)).toBeUndefined();
  });
});

describe.each([3, 5])("in a cluster of %i write-once nodes,", (nodes) => {
  it("with messages late, lost and doubled, leases over at any time, and writers dead: one record per key", () => {
    const reached = { answered: 0, adopted: 0, free: 0 };
    const holds = (seed: number): boolean => {
      const { answers, last } = runCluster(nodes, seed);
      const [answer] = answers;
      reached.answered += Number(answer !== undefined);
      reached.adopted += Number(answer === undefined && last.startsWith("answered"));
      reached.free += Number(last === "acquired");
      // Agreement: nobody is answered with another record, and the next reader of a quiet cluster gets the same.
      if (answer !== undefined) return [...answers, last].every((one) => one.endsWith(answer));
      // Progress: once all is quiet, a key is answered, free, or says that it needs an operator.
      return /^(answered .+|acquired|wedged)$/.test(last);
    };
    expect(counterexample(fc.noShrink(fc.integer()), holds, 6_000)).toBeUndefined();
    // The walks went everywhere, or they prove little.
    expect(Object.values(reached).every((count) => count > 100)).toBe(true);
  });
});
