/** `storeContract`, and `commitContract` beside it: the suites that stores must pass, those of this package and those of third parties. */
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { claiming } from "./testing/claiming.js";
import { committing } from "./testing/committing.js";
import { completing } from "./testing/completing.js";
import { fidelity } from "./testing/fidelity.js";
import { keys } from "./testing/keys.js";
import { leases } from "./testing/leases.js";
import { deleting } from "./testing/deleting.js";
import type { Rule, Rules, StoreUnderTest } from "./testing/stage.js";

export type { StoreUnderTest } from "./testing/stage.js";

/** What the suite needs of a test runner: vitest, jest, mocha and `node:test` all have it. */
export interface Runner {
  describe(name: string, body: () => void): unknown;
  it(name: string, body: () => Promise<void>, timeoutMs?: number): unknown;
}

// Generous: a slow machine must not look like a broken store. What hangs is still found.
const TIMEOUT_MS = 20_000;

const THEMES = { claiming, leases, completing, deleting, fidelity, keys };

/**
 * Registers the contract's tests for one store.
 *
 * Every test asks for a store of its own and uses keys of its own, so that all of them, and several runs, can share one
 * server; what they leave there ends by its TTL within a minute. Time passes in leases and TTLs of 300 ms.
 *
 * @example
 * ```ts
 * import { describe, it } from "node:test";
 * import { memoryStore } from "idempotency-kit/memory";
 * import { storeContract } from "idempotency-kit/testing";
 *
 * storeContract("memory", () => ({ store: memoryStore() }), { describe, it });
 * ```
 *
 * @param makeStore Called before each test.
 * @param runner The default is the global `describe` and `it`.
 */
export function storeContract(
  name: string,
  makeStore: () => Promise<StoreUnderTest> | StoreUnderTest,
  runner: Runner = globalRunner(),
): void {
  register(`${name}: the store contract`, THEMES, makeStore, runner);
}

/**
 * Registers the tests for a store's optional `commit`, which come on top of `storeContract`. They commit no writes:
 * that those are stored with the response or not at all is for the store's own tests.
 *
 * @param makeStore Called before each test.
 * @param runner The default is the global `describe` and `it`.
 */
export function commitContract(
  name: string,
  makeStore: () => Promise<StoreUnderTest> | StoreUnderTest,
  runner: Runner = globalRunner(),
): void {
  register(`${name}: the contract of commit`, { committing }, makeStore, runner);
}

function register(
  title: string,
  themes: Readonly<Record<string, Rules>>,
  makeStore: () => Promise<StoreUnderTest> | StoreUnderTest,
  runner: Runner,
): void {
  runner.describe(title, () => {
    for (const [theme, rules] of Object.entries(themes)) {
      runner.describe(theme, () => {
        for (const [rule, check] of Object.entries(rules)) {
          runner.it(rule, () => onStage(makeStore, check), TIMEOUT_MS);
        }
      });
    }
  });
}

async function onStage(
  makeStore: () => Promise<StoreUnderTest> | StoreUnderTest,
  check: Rule,
): Promise<void> {
  const { store, elapse, close } = await makeStore();
  const run = randomUUID();
  try {
    await check({
      store,
      elapse: elapse ?? ((ms) => sleep(ms)),
      key: (label = "key") => `contract-${run}-${label}`,
    });
  } finally {
    await (close === undefined ? store.close?.() : close());
  }
}

function globalRunner(): Runner {
  const { describe, it } = globalThis as Partial<Runner>;
  if (typeof describe !== "function" || typeof it !== "function") {
    throw new TypeError(
      "storeContract found no global describe and it: pass your runner's as the third argument, { describe, it }.",
    );
  }
  return { describe, it };
}
