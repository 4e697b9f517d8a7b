/** A server in a simulated process: the kit's own protocol over a store, and handlers that take time, fail and refuse. */
import type { IdempotencyError } from "../../src/errors.js";
import {
  protocolRelations,
  protocolRules,
  type ProtocolOptions,
} from "../../src/idempotency/options.js";
import { Protocol, type Outcome } from "../../src/idempotency.js";
import { parseOptions } from "../../src/options.js";
import type { RecordedResponse, Store } from "../../src/store.js";
import type { ExecutionEntry, RequestOutcome } from "../faults/history.js";
import type { SimulatedProcess } from "./world.js";

type Writable<T> = { -readonly [K in keyof T]: T[K] };

/** What a handler will do. */
export interface Work {
  readonly takesMs: number;
  readonly ends: "result" | "tombstone" | "not-to-store" | "throws";
}

export interface Arrival {
  readonly key: string;
  readonly fingerprint: string;
  readonly requestedAt: number;
  readonly work: Work;
}

export interface Answer {
  readonly outcome: RequestOutcome;
  readonly answer?: string;
  /** Whether a handler ran for it. */
  readonly ran?: boolean;
  /** Nothing can be answered before an operator decides. */
  readonly isWedged?: boolean;
}

/** All times in one scale, so that everything happens in a few seconds. */
export const LEASE_MS = 1_000;
export const TTL_MS = 24 * 3_600_000;
export const MAX_HANDLING_MS = 3_000;
export const STORE_TIMEOUT_MS = 333;
export const MAX_WAIT_MS = 1_500;

/** Of one life of a process. */
export class SimulatedServer {
  readonly process: SimulatedProcess;
  #protocol!: Protocol;
  readonly #executions: Writable<ExecutionEntry>[];
  readonly #claims = new Map<string, { claimedAt: number; renewedAt: number[] }>();
  /** Executions that are neither stored nor released. */
  readonly #unsettled = new Set<Writable<ExecutionEntry>>();
  readonly #openRequests = new Set<() => void>();

  constructor(
    process: SimulatedProcess,
    open: () => Store,
    onConflict: ProtocolOptions["onConflict"],
    executions: ExecutionEntry[],
  ) {
    this.process = process;
    this.#executions = executions;
    const given = {
      leaseMs: LEASE_MS,
      ttlMs: TTL_MS,
      storeTimeoutMs: STORE_TIMEOUT_MS,
      maxHandlingMs: MAX_HANDLING_MS,
      maxWaitMs: MAX_WAIT_MS,
      onConflict,
    } as const;
    const options = parseOptions("simulation", given, protocolRules(given), protocolRelations);
    process.do(0, "message", () => {
      this.#protocol = new Protocol(this.#observed(open()), options);
    });
  }

  /** Takes a request from the network; exactly one of the two is called, unless it is never answered. */
  receive(
    delayMs: number,
    arrival: Arrival,
    onAnswer: (answer: Answer) => void,
    onDeath: () => void,
  ): void {
    if (!this.process.isAlive) return onDeath();
    this.#openRequests.add(onDeath);
    this.process.do(delayMs, "message", () => {
      void this.#answer(arrival).then((answer) => {
        this.#openRequests.delete(onDeath);
        onAnswer(answer);
      });
    });
  }

  /** Requests that nobody has answered. */
  get waiting(): number {
    return this.process.isAlive ? this.#openRequests.size : 0;
  }

  /** With all that it holds in memory. */
  die(): void {
    if (!this.process.isAlive) return;
    this.process.isAlive = false;
    for (const entry of this.#unsettled) entry.crashedAt = this.process.world.now;
    for (const onDeath of this.#openRequests) onDeath();
  }

  async #answer({ key, fingerprint, requestedAt, work }: Arrival): Promise<Answer> {
    let body = "";
    let running: Writable<ExecutionEntry> | undefined;
    const outcome = await this.#protocol.run({ key, fingerprint }, async (execution) => {
      const { token } = execution;
      const claim = this.#claims.get(token);
      const { process } = this;
      body = `result of ${token}`;
      const entry: Writable<ExecutionEntry> = {
        key,
        fingerprint,
        token,
        process: process.name,
        requestedAt,
        claimedAt: claim?.claimedAt ?? process.now,
        startedAt: process.now,
        renewedAt: claim?.renewedAt ?? [],
      };
      this.#executions.push(entry);
      this.#unsettled.add(entry);
      running = entry;
      process.world.say(() => `${process.name} executes ${key} under ${token}`);
      await new Promise((resolve) => {
        setTimeout(resolve, work.takesMs);
      });
      entry.endedAt = process.now;
      if (work.ends === "throws") {
        entry.end = "threw";
        throw new Error("The handler failed.");
      }
      entry.end = "returned";
      if (work.ends === "not-to-store") execution.doNotStore();
      else entry.isResult = true;
      entry.answer = hashOf(recording(body));
      return recording(body, work.ends === "tombstone");
    });
    if (running !== undefined && outcome.kind !== "refused") this.#unsettled.delete(running);
    return { ...answerOf(outcome, body), ran: running !== undefined };
  }

  /** Notes when claims and renewals were sent that succeeded. */
  #observed(store: Store): Store {
    const { process } = this;
    return {
      ...store,
      lock: async (key, fingerprint, leaseMs) => {
        const claimedAt = process.now;
        const result = await store.lock(key, fingerprint, leaseMs);
        if (result.state === "acquired") {
          this.#claims.set(result.lease.token, { claimedAt, renewedAt: [] });
        }
        return result;
      },
      extend: async (lease, leaseMs) => {
        const sentAt = process.now;
        const held = await store.extend(lease, leaseMs);
        const claim = this.#claims.get(lease.token);
        const provenAt = claim?.renewedAt.at(-1) ?? claim?.claimedAt ?? 0;
        // Answered later, it does not prove that nobody was there in between.
        if (held && process.now < provenAt + LEASE_MS) claim?.renewedAt.push(sentAt);
        return held;
      },
    };
  }
}

function recording(body: string, isTombstone = false): RecordedResponse {
  const head = { statusCode: 201, headers: [] };
  return isTombstone
    ? { ...head, body: new Uint8Array(), tombstone: "too-large" }
    : { ...head, body: Buffer.from(body) };
}

function hashOf({ statusCode, body }: RecordedResponse): string {
  return `${statusCode} ${Buffer.from(body).toString()}`;
}

const REFUSALS: Readonly<Partial<Record<string, RequestOutcome>>> = {
  REQUEST_IN_PROGRESS: "conflict",
  KEY_REUSED: "mismatch",
  RESPONSE_NOT_KEPT: "processed",
  STORE_UNAVAILABLE: "unavailable",
  LOCK_FAILED: "unavailable",
  LEASE_LOST: "unavailable",
};

function answerOf(outcome: Outcome, body: string): Answer {
  switch (outcome.kind) {
    case "executed":
      return {
        outcome: outcome.stored ? "executed" : "released",
        answer: hashOf(recording(body)),
      };
    case "replayed":
      return { outcome: "replayed", answer: hashOf(outcome.response) };
    case "failed":
      return { outcome: "failed" };
    case "refused":
      return {
        outcome: REFUSALS[outcome.error.code] ?? "refused",
        isWedged: isWedged(outcome.error),
      };
    case "unprotected":
      throw new Error("Bug! The simulation does not ask for this.");
    default:
      throw new Error(`Bug! Unknown outcome ${JSON.stringify(outcome satisfies never)}`);
  }
}

function isWedged({ message }: IdempotencyError): boolean {
  return message.startsWith("Different records of this key");
}
