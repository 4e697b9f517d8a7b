/** What a client wants to happen to one of its requests: told to the server in a header, which is no part of the payload. */
import { createHash } from "node:crypto";

/** Where in a request's way a fault can strike: "sent" is after the command has left, and before its answer is here. */
export const STAGES = [
  "lock-sent",
  "locked",
  "executing",
  "extend-sent",
  "executed",
  "set-sent",
  "stored",
  "unlock-sent",
] as const;

export type Stage = (typeof STAGES)[number];

export interface StageFault {
  readonly stage: Stage;
  /** `die`: SIGKILL. `freeze`: nothing in the process moves for `forMs`. */
  readonly does: "die" | "freeze";
  readonly forMs: number;
}

export interface RequestPlan {
  readonly id: string;
  /** How long the handler takes. */
  readonly workMs: number;
  /** `refuse`: 429, which is not to be stored. */
  readonly end: "pay" | "decline" | "refuse" | "throw";
  /** Of the answer's body. */
  readonly bytes: number;
  readonly fault?: StageFault | undefined;
}

export const PLAN_HEADER = "x-plan";

/** Fields that are made anew for each answer, or that tell a replay. */
const OF_THE_ANSWER = new Set([
  "cache-control",
  "connection",
  "content-length",
  "date",
  "idempotency-replayed",
  "keep-alive",
  "transfer-encoding",
]);

/** One for all that must be the same in every answer: status, header fields, body. */
export function hashOfAnswer(
  status: number,
  headers: readonly (readonly [name: string, value: string])[],
  body: Uint8Array | string,
): string {
  const fields = headers
    .map(([name, value]) => [name.toLowerCase(), value] as const)
    .filter(([name]) => !OF_THE_ANSWER.has(name))
    .map(([name, value]) => `${name}: ${value}`)
    .toSorted();
  const hash = createHash("sha256")
    .update(`${status}\n${fields.join("\n")}\n\n`)
    .update(body);
  return hash.digest("base64url").slice(0, 12);
}
