/** Which mistakes are made, and which tests shall find them. */
import { conditionMutants } from "./conditions.js";
import { expressionMutants } from "./expressions.js";
import type { Mutant } from "./mutant.js";

/** Test files by stage, the cheap ones first: a mutant that one stage finds costs no later one. */
export type Stages = readonly (readonly string[])[];

const MEMORY: Stages = [["contract/memory", "unit/memory"], ["local-cache/cache"]];

const REDIS: Stages = [
  ["model/twin", "redis/round-trips", "redis/refusals"],
  ["redis/faults"],
  ["redis/contract"],
  ["redis/replicas"],
];

const MARKER: Stages = [
  ["redis/marker"],
  ["redis/marker-cluster"],
  ["redis/amnesia"],
  ["redlock/amnesia"],
  ["redis/refusals", "redis/doctor"],
];

const REDLOCK: Stages = [
  ["unit/quorum"],
  ["redlock/outages", "redlock/construction"],
  ["redlock/amnesia", "redlock/round-trips", "redlock/faults"],
  ["redlock/contract"],
];

/** What has a network in it, no unit test reaches. */
const QUORUM: Stages = REDLOCK.slice(1);

const DYNAMODB: Stages = [
  ["dynamodb/clock", "dynamodb/refusals"],
  ["dynamodb/commit", "dynamodb/cost"],
  ["dynamodb/contract"],
  ["dynamodb/responses", "dynamodb/faults", "dynamodb/damage.property"],
];

const PROTOCOL: Stages = [
  ["http/lease", "http/conflict", "http/store-failure", "http/commit", "http/events"],
  ["http/retry", "http/drain", "http/stored", "http/hang-up", "unit/heartbeat", "unit/options"],
  [
    "lambda/time",
    "lambda/commit",
    "lambda/function",
    "http/server-timing",
    "http/streaming",
    "http/recorder-end",
    "http/handler-failure",
    "http/replay",
    "unit/otel",
  ],
];

/** By source file. What has no tests of its own here is tested by what its store promises. */
const PLAN: Readonly<Record<string, Stages>> = {
  "stores/redis/scripts.ts": REDIS,
  "stores/redlock/decisions.ts": REDLOCK,
  "stores/redlock/quorum.ts": QUORUM,
  "stores/redlock/locks.ts": QUORUM,
  "stores/redlock/ballot.ts": QUORUM,
  "stores/redis/endpoint.ts": [...REDIS, ["redlock/outages"]],
  "stores/redis/value.ts": [...REDIS, ["redis/list"]],
  "stores/redis/commands.ts": REDIS,
  "stores/memory.ts": MEMORY,
  "stores/memory/entries.ts": MEMORY,
  "stores/memory/expiry-heap.ts": MEMORY,
  "stores/memory/frames.ts": MEMORY,
  "src/idempotency.ts": PROTOCOL,
  "src/idempotency/heartbeat.ts": [["unit/heartbeat"], ...PROTOCOL],
  "src/idempotency/pending.ts": PROTOCOL,
  "src/idempotency/guarded-store.ts": PROTOCOL,
  "src/idempotency/waiters.ts": PROTOCOL,
  "src/idempotency/execution.ts": PROTOCOL,
  "src/idempotency/outcome.ts": PROTOCOL,
  "src/idempotency/refusals.ts": PROTOCOL,
  "src/idempotency/headers.ts": PROTOCOL,
  "src/idempotency/options.ts": PROTOCOL,
  "stores/dynamodb/register.ts": DYNAMODB,
  "stores/dynamodb/transaction.ts": DYNAMODB,
  "stores/dynamodb/records.ts": DYNAMODB,
  "stores/dynamodb/chunks.ts": DYNAMODB,
  "stores/dynamodb/item.ts": DYNAMODB,
  "stores/dynamodb/writes.ts": DYNAMODB,
  "stores/redlock/voter.ts": QUORUM,
  "stores/redlock/newcomer.ts": [["redlock/amnesia"]],
  "stores/redlock/nodes.ts": [["redlock/construction"], ["redlock/round-trips"]],
  "stores/redis/marker.ts": MARKER,
};

export const FILES: readonly string[] = Object.keys(PLAN);

export function stagesOf(file: string): Stages {
  return (PLAN[file] ?? []).map((stage) => stage.map((name) => `test/${name}.test.ts`));
}

/** Whether its tests need no server but the one in their own process: they fail for a reason, however busy the machine is. */
export function isSteady(test: string): boolean {
  return (
    test.startsWith("test/unit/") ||
    test.startsWith("test/http/") ||
    test === "test/contract/memory.test.ts"
  );
}

export function mutantsOf(file: string, source: string): Mutant[] {
  return [...conditionMutants(file, source), ...expressionMutants(file, source)];
}
