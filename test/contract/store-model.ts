/** The store contract as a model of forty lines, and random walks that compare a store with it, step by step. */
import * as fc from "fast-check";
import { expect } from "vitest";
import type { CachedResponse, Lease, LockResult, SetResult, Store } from "../../src/store.js";

/** The model's register: the token says whose, a response that it is completed. */
interface Register {
  readonly token: string;
  readonly fingerprint: string;
  readonly response?: CachedResponse;
  until: number;
}

/** Every verb as the contract words it. It learns tokens from the store, and otherwise shares nothing with it. */
export function storeModel() {
  const registers = new Map<string, Register>();
  let now = 0;
  const at = (key: string): Register | undefined => {
    const register = registers.get(key);
    return register !== undefined && register.until > now ? register : undefined;
  };
  const heldBy = (lease: Lease): Register | undefined => {
    const register = at(lease.key);
    return register?.token === lease.token && !register.response ? register : undefined;
  };
  return {
    elapse: (ms: number) => void (now += ms),
    get: (key: string) => at(key)?.response,
    lock(key: string, fingerprint: string, leaseMs: number, token: string): LockResult {
      const register = at(key);
      if (register?.response) return { state: "completed", response: register.response };
      if (register) {
        const retryAfterMs = register.until - now;
        return { state: "in-progress", fingerprint: register.fingerprint, retryAfterMs };
      }
      registers.set(key, { token, fingerprint, until: now + leaseMs });
      return { state: "acquired", lease: { key, token, fingerprint, validUntil: now + leaseMs } };
    },
    extend(lease: Lease, leaseMs: number): boolean {
      const register = heldBy(lease);
      if (register) register.until = now + leaseMs;
      return register !== undefined;
    },
    set(lease: Lease, response: CachedResponse, ttlMs: number): SetResult {
      const register = at(lease.key);
      if (register && register.token !== lease.token) {
        return register.response ? { state: "lost", winner: register.response } : { state: "lost" };
      }
      const { key, token, fingerprint } = lease;
      if (!register?.response) {
        registers.set(key, { token, fingerprint, response, until: now + ttlMs });
      }
      return { state: "stored" };
    },
    unlock: (lease: Lease) => void (heldBy(lease) && registers.delete(lease.key)),
    delete: (key: string) => at(key) !== undefined && registers.delete(key),
  };
}

interface Walk {
  readonly store: Store;
  readonly elapse: (ms: number) => Promise<void>;
  /** All that were ever acquired, stale ones included. */
  readonly leases: Lease[];
}

type Model = ReturnType<typeof storeModel>;
type Step = fc.AsyncCommand<Model, Walk>;

export interface WalkOptions {
  readonly keys: readonly string[];
  /** Leases, TTLs and pauses are drawn from these. On a real clock, no two sums of them may come close to each other. */
  readonly durationsMs: readonly number[];
}

/** Random sequences of all verbs over few keys and any holder, so that holders meet and grow stale. */
export function storeWalks({ keys, durationsMs }: WalkOptions) {
  const key = fc.constantFrom(...keys);
  const ms = fc.constantFrom(...durationsMs);
  const lease = fc.nat();
  const fingerprint = fc.constantFrom("one", "another");
  const response = fc.record({
    statusCode: fc.integer({ min: 200, max: 599 }),
    headers: fc.array(fc.tuple(fc.string(), fc.string()), { maxLength: 2 }),
    body: fc.uint8Array({ maxLength: 8 }),
    fingerprint,
  });
  const steps = [
    fc.tuple(key, fingerprint, ms).map((args) => lockStep(...args)),
    fc.tuple(key, fingerprint, ms).map((args) => lockStep(...args)),
    fc.tuple(lease, ms).map((args) => extendStep(...args)),
    fc.tuple(lease, response, ms).map((args) => setStep(...args)),
    lease.map(unlockStep),
    key.map(getStep),
    key.map(deleteStep),
    ms.map(elapseStep),
  ];
  return fc.commands(steps, { size: "large", maxCommands: 60 });
}

export async function walk(
  steps: Iterable<Step>,
  store: Store,
  elapse: Walk["elapse"],
): Promise<void> {
  await fc.asyncModelRun(
    () => ({ model: storeModel(), real: { store, elapse, leases: [] } }),
    steps,
  );
}

function step(name: string, run: Step["run"], needsLease = false): Step {
  // The first step that needs a lease where there is none yet does nothing.
  return {
    check: () => true,
    run: async (model, real) => {
      if (!needsLease || real.leases.length > 0) await run(model, real);
    },
    toString: () => name,
  };
}

function lockStep(key: string, fingerprint: string, leaseMs: number): Step {
  return step(`lock(${key}, ${fingerprint}, ${leaseMs})`, async (model, { store, leases }) => {
    const actual = await store.lock(key, fingerprint, leaseMs);
    const token = actual.state === "acquired" ? actual.lease.token : "";
    const expected = model.lock(key, fingerprint, leaseMs, token);
    expect(actual.state).toBe(expected.state);
    if (actual.state === "acquired") {
      expect(actual.lease).toMatchObject({ key, fingerprint });
      expect(leases.map((lease) => lease.token)).not.toContain(token);
      leases.push(actual.lease);
    } else if (actual.state === "completed") {
      expectSame(actual.response, expected.state === "completed" ? expected.response : undefined);
    } else if (expected.state === "in-progress") {
      expect([undefined, expected.fingerprint]).toContain(actual.fingerprint);
      // The rest of the lease, or a guess: what it would cost to know is the store's own affair.
      expect(actual.retryAfterMs).toBeGreaterThan(0);
      expect(actual.retryAfterMs).toBeLessThan(Infinity);
    }
  });
}

function extendStep(which: number, leaseMs: number): Step {
  const run: Step["run"] = async (model, { store, leases }) => {
    const lease = leases[which % leases.length] as Lease;
    expect(await store.extend(lease, leaseMs)).toBe(model.extend(lease, leaseMs));
  };
  return step(`extend(${which}, ${leaseMs})`, run, true);
}

function setStep(
  which: number,
  part: Pick<CachedResponse, "statusCode" | "headers" | "body" | "fingerprint">,
  ttlMs: number,
): Step {
  const run: Step["run"] = async (model, { store, leases }) => {
    const lease = leases[which % leases.length] as Lease;
    const timestamp = Date.now();
    const response = { ...part, timestamp, expiresAt: timestamp + ttlMs };
    const actual = await store.set(lease, response, ttlMs);
    const expected = model.set(lease, response, ttlMs);
    expect(actual.state).toBe(expected.state);
    const winners = [actual, expected].map((result) =>
      result.state === "lost" ? result.winner : undefined,
    );
    expectSame(winners[0], winners[1]);
  };
  return step(`set(${which}, ${part.statusCode}, ${ttlMs})`, run, true);
}

function unlockStep(which: number): Step {
  const run: Step["run"] = async (model, { store, leases }) => {
    const lease = leases[which % leases.length] as Lease;
    model.unlock(lease);
    expect(await store.unlock(lease)).toBeUndefined();
  };
  return step(`unlock(${which})`, run, true);
}

function getStep(key: string): Step {
  return step(`get(${key})`, async (model, { store }) => {
    expectSame(await store.get(key), model.get(key));
  });
}

function deleteStep(key: string): Step {
  return step(`delete(${key})`, async (model, { store }) => {
    expect(await store.delete(key)).toBe(model.delete(key));
  });
}

function elapseStep(ms: number): Step {
  return step(`elapse(${ms})`, async (model, { elapse }) => {
    model.elapse(ms);
    await elapse(ms);
  });
}

/** Bodies may be any kind of `Uint8Array`. */
function expectSame(actual?: CachedResponse, expected?: CachedResponse): void {
  expect(plain(actual)).toEqual(plain(expected));
}

function plain(response?: CachedResponse): object | undefined {
  return response && { ...response, body: Buffer.from(response.body).toString("hex") };
}
