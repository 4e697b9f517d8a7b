/** Mistakes that the simulation must find: each has been made by some kit, or is what one rule of this one prevents. */
import type { Mutation } from "./bundle.js";

export interface Mutant extends Mutation {
  readonly store: string;
}

const DECISIONS = "stores/redlock/decisions.ts";
const QUORUM = "stores/redlock/quorum.ts";
const LOCKS = "stores/redlock/locks.ts";
const TWIN = "test/model/twin.ts";
const VOTER = "stores/redlock/voter.ts";
const PROTOCOL = "src/idempotency.ts";

export const MUTANTS: Readonly<Record<string, Mutant>> = {
  "a script stores whoever holds the key": {
    store: "redis",
    file: TWIN,
    from: "if (found === undefined || startsWith(found, mark)) {\n        twin.set",
    to: "if (found === undefined || found[0] !== R) {\n        twin.set",
  },
  "a script overwrites a record": {
    store: "redis",
    file: TWIN,
    from: "if (found === undefined || startsWith(found, mark)) {\n        twin.set",
    to: "if (found === undefined || found[0] === R || startsWith(found, mark)) {\n        twin.set",
  },
  "a node's record is overwritten": {
    store: "redlock",
    file: TWIN,
    from: "if (found === undefined || startsWith(found, mark)) {\n        twin.set",
    to: "if (found === undefined || found[0] === R || startsWith(found, mark)) {\n        twin.set",
  },
  "a lock has no end": {
    store: "redis",
    file: TWIN,
    from: "px === -1 ? Infinity : Number(flags[px + 1])",
    to: "px === -1 ? Infinity : 1e12",
  },
  "a renewal does not look whose lock it is": {
    store: "redis",
    file: TWIN,
    from: "if (!startsWith(found, mark)) return 0;\n      return twin.expire",
    to: "return twin.expire",
  },
  "a renewal makes a record short-lived": {
    store: "redlock",
    file: TWIN,
    from: "if (!startsWith(found, mark)) return 0;\n      return twin.expire",
    to: "return twin.expire",
  },
  "a release does not look whose lock it is": {
    store: "redis",
    file: TWIN,
    from: "if (found === undefined || !startsWith(found, mark)) return 0;\n      return twin.delete",
    to: "if (found === undefined) return 0;\n      return twin.delete",
  },
  "a response is stored on one node before it is answered": {
    store: "redlock",
    file: DECISIONS,
    from: 'if (held >= majority) return { state: "stored" };',
    to: 'if (held >= 1) return { state: "stored" };',
  },
  "a record of one node is replayed": {
    store: "redlock",
    file: DECISIONS,
    from: 'if (most !== undefined && most.holders >= majority) {\n    return { state: "completed"',
    to: 'if (most !== undefined && most.holders >= 1) {\n    return { state: "completed"',
  },
  "a record of a minority is ignored": {
    store: "redlock",
    file: DECISIONS,
    from: 'if (adoptable !== undefined) return { state: "adopt", ...adoptable };',
    to: 'if (granted >= majority) return { state: "acquired" };',
  },
  "a lock of one node is a lease": {
    store: "redlock",
    file: DECISIONS,
    from: "if (live.length === 0 && granted >= majority)",
    to: "if (live.length === 0 && granted >= 1)",
  },
  "who adopts does not write": {
    store: "redlock",
    file: QUORUM,
    from: "const verdict = await this.#spread(lease, votes, record);",
    to: 'const verdict = { state: "stored" } as StoreVerdict;',
  },
  "a writer that fails deletes what it wrote": {
    store: "redlock",
    file: QUORUM,
    from: 'case "unavailable":\n        throw unavailable("set", verdict.errors);',
    to: 'case "unavailable":\n        void this.delete(key).catch(() => {});\n        throw unavailable("set", verdict.errors);',
  },
  "grants in vain are kept": {
    store: "redlock",
    file: LOCKS,
    from: "} else if (round === undefined || (await isInVain(round, node))) {",
    to: "} else if (round === undefined) {",
  },
  "a minority's holder tells its fingerprint": {
    store: "redlock",
    file: DECISIONS,
    from: 'return { state: "in-progress", lock: undefined, split: live.length === 0 };',
    to: 'const [first] = locksIn(votes);\n  return { state: "in-progress", lock: first?.lock, split: live.length === 0 };',
  },
  "a node that was down stays out": {
    store: "redlock",
    file: VOTER,
    from: "this.#isDown = false;\n    } catch",
    to: "} catch",
  },
  "an answer leaves before it is stored": {
    store: "redis",
    file: PROTOCOL,
    from: "result = await keep(this.#store, keeping, this.#options.ttlMs, deadline);",
    to: 'void keep(this.#store, keeping, this.#options.ttlMs, deadline).catch(() => {});\n      result = { state: "stored" };',
  },
  "a stale holder answers with its own result": {
    store: "redis",
    file: PROTOCOL,
    from: "if (result.winner !== undefined) return answerFrom(result.winner, lease.fingerprint);",
    to: 'if (result.winner !== undefined) return { kind: "executed", stored: true };',
  },
  "a tombstone frees its key": {
    store: "memory",
    file: PROTOCOL,
    from: "if (!execution.isResult || !this.#isToStore(lease.key, recorded)) {",
    to: "if (!execution.isResult || recorded.tombstone !== undefined) {",
  },
  "a response that cannot be stored is forgotten": {
    store: "redis",
    file: PROTOCOL,
    from: "const settled = this.#pending.hold({ ...keeping, until: heartbeat.endsAt, deadline, error });",
    to: "const settled = undefined;\n      await this.#store.unlock(lease, deadline).catch(() => {});",
  },
  "a wait has no end": {
    store: "memory",
    file: "src/idempotency/waiters.ts",
    from: "if (leftMs <= 0) break;",
    to: "if (leftMs <= -60_000) break;",
  },
};
