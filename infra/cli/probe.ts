/** A request's way through the store, made with a key of its own and removed again. */
import { randomUUID } from "node:crypto";
import type { CachedResponse, Store } from "../../src/index.js";

/** Medians, in milliseconds. */
export interface Latency {
  readonly lock: number;
  readonly set: number;
  readonly get: number;
  readonly delete: number;
}

type Verb = keyof Latency;

/** The first is not counted: it may have to connect, or to load a script. */
const ROUNDS = 6;

/** What a probe leaves behind that is killed half-way is gone after this. */
const PROBE_TTL_MS = 60_000;
const PROBE_LEASE_MS = 10_000;

/**
 * Locks a key, stores a record, reads it back, deletes it; several times.
 *
 * @throws {StoreUnavailableError | LockFailedError} where the store fails.
 * @throws {Error} where it answers, and wrong.
 */
export async function probe(store: Store): Promise<Latency> {
  const rounds: Latency[] = [];
  for (let round = 0; round < ROUNDS; round += 1) rounds.push(await probeOnce(store));
  const median = (verb: Verb): number => {
    const sorted = rounds
      .slice(1)
      .map((round) => round[verb])
      .toSorted((a, b) => a - b);
    return sorted[Math.floor(sorted.length / 2)] ?? 0;
  };
  return { lock: median("lock"), set: median("set"), get: median("get"), delete: median("delete") };
}

async function probeOnce(store: Store): Promise<Latency> {
  // No hash of a client's key has this form.
  const key = `doctor:${randomUUID()}`;
  const response = sample();
  try {
    const [lockMs, locked] = await timed(() => store.lock(key, "doctor", PROBE_LEASE_MS));
    if (locked.state !== "acquired") throw wrong(`a fresh key was ${locked.state}`);
    const [setMs, stored] = await timed(() => store.set(locked.lease, response, PROBE_TTL_MS));
    if (stored.state !== "stored") throw wrong("a record was refused");
    const [getMs, found] = await timed(() => store.get(key));
    if (found?.fingerprint !== response.fingerprint) throw wrong("a record was not there again");
    const [deleteMs, deleted] = await timed(() => store.delete(key));
    if (!deleted) throw wrong("a record was not deleted");
    return { lock: lockMs, set: setMs, get: getMs, delete: deleteMs };
  } catch (error) {
    // Whatever came of it, it shall not stay; its time ends it otherwise.
    await store.delete(key).catch(() => false);
    throw error;
  }
}

function sample(): CachedResponse {
  const timestamp = Date.now();
  return {
    statusCode: 204,
    headers: [],
    body: new Uint8Array(),
    timestamp,
    expiresAt: timestamp + PROBE_TTL_MS,
    fingerprint: "doctor",
  };
}

async function timed<T>(call: () => Promise<T>): Promise<[ms: number, answer: T]> {
  const start = performance.now();
  const answer = await call();
  return [performance.now() - start, answer];
}

function wrong(what: string): Error {
  return new Error(`The store answers, but wrong: ${what}. Does another program use its keys?`);
}
