import { expect, test } from "vitest";
import { idempotency, OptionsError, type HttpOptions, type Store } from "../../src/index.js";
import { parseHttpOptions } from "../../src/http/options.js";
import { memoryStore } from "../../stores/memory.js";

function mistakesOf(options: unknown): readonly string[] {
  try {
    idempotency(memoryStore(), options as Partial<HttpOptions>);
  } catch (error) {
    if (error instanceof OptionsError) return error.mistakes;
    throw error;
  }
  return [];
}

test.each([
  ["ttlMs", 0],
  ["ttlMs", -1],
  ["ttlMs", Number.NaN],
  ["ttlMs", 1.5],
  ["ttlMs", "24h"],
  ["ttlMs", Number.POSITIVE_INFINITY],
  ["leaseMs", 99],
  ["leaseMs", 2 ** 31],
  ["storeTimeoutMs", 0],
  ["maxHandlingMs", Number.NaN],
  ["maxWaitMs", -5],
  ["maxWaiters", 0],
  ["maxBodyBytes", -1],
  ["maxResponseBytes", 0.5],
  ["maxPendingBytes", -1],
  ["maxKeyLength", 0],
  ["onConflict", "queue"],
  ["onStoreFailure", true],
  ["shouldStore", "always"],
  ["scope", "tenant"],
  ["keyFunc", {}],
  ["fingerprint", 1],
  ["onReplay", null],
  ["onError", "log"],
  ["required", "yes"],
  ["headerName", "Idempotency Key"],
  ["headerName", ""],
  ["docsUrl", "not a url"],
  ["docsUrl", "javascript:alert(1)"],
  ["docsUrl", "https://exämple.org/"],
  ["docsUrl", "https://example.org/a\nb"],
  ["docsUrl", "https://example.org/>; rel=next"],
  ["statusCodes", { KEY_REUSED: 200 }],
  ["statusCodes", { NO_SUCH_CODE: 400 }],
  ["statusCodes", null],
  ["methods", ["post"]],
  ["methods", "POST"],
  ["storeHeaders", [1]],
  ["storeHeaders", ["x-request", 1]],
  ["storeHeaders", "x-request"],
])("C43: %s cannot be %j", (name, value) => {
  expect(mistakesOf({ [name]: value })).toEqual([
    expect.stringMatching(new RegExp(`^${name} must`)),
  ]);
});

test("C43: a lease longer than the TTL is refused, and so are limits that contradict each other", () => {
  expect(mistakesOf({ ttlMs: 5_000 })).toEqual(["leaseMs (10000) must not exceed ttlMs (5000)"]);
  expect(mistakesOf({ maxHandlingMs: 5_000 })).toEqual([
    "leaseMs (10000) must not exceed maxHandlingMs (5000)",
  ]);
  expect(mistakesOf({ maxHandlingMs: 10_000, ttlMs: 10_000 })).toEqual([]);
  expect(mistakesOf({ leaseMs: 3_000, storeTimeoutMs: 1_001 })).toEqual([
    expect.stringContaining("storeTimeoutMs (1001) must be at most a third of leaseMs (3000)"),
  ]);
});

test("every mistake is named at once, unknown names among them", () => {
  const mistakes = mistakesOf({ ttl: 5, ttlMs: 0, leaseMs: Number.NaN, required: 1 });

  expect(mistakes).toHaveLength(4);
  expect(mistakes[0]).toMatch(/^unknown option 'ttl', known are .*ttlMs/);
});

test.each([null, 5, "fast"])("options that are no object are refused: %j", (options) => {
  expect(mistakesOf(options)).toEqual([expect.stringContaining("must be an object")]);
});

test.each([
  ["a BigInt", 10_000n],
  ["a symbol", Symbol("10000")],
  ["an object that is no number either", Object.create(null)],
])("the lease, by which another option is judged, cannot be %s", (_, leaseMs: unknown) => {
  expect(mistakesOf({ leaseMs })).toEqual([expect.stringMatching(/^leaseMs must be an integer/)]);
});

test("what stands where options should is not repeated: it may belong into one", () => {
  expect(mistakesOf("hunter2").join()).not.toContain("hunter2");
});

test("an error message does not repeat long or secret values", () => {
  const [mistake] = mistakesOf({ docsUrl: `secret${"x".repeat(500)}` });

  expect(mistake?.length).toBeLessThan(120);
});

test("undefined means the default, and nobody's object is changed", () => {
  const given = Object.freeze({ ttlMs: undefined, leaseMs: 3_000 });

  const options = parseHttpOptions(given);

  expect(options).toMatchObject({ ttlMs: 86_400_000, leaseMs: 3_000, storeTimeoutMs: 1_000 });
  expect(Object.isFrozen(options)).toBe(true);
  expect(given).toEqual({ ttlMs: undefined, leaseMs: 3_000 });
});

test.each([undefined, {}, "redis://localhost", { lock: 1 }])("%j is not a store", (store) => {
  expect(() => idempotency(store as unknown as Store)).toThrow(
    /store: it lacks lock, extend, set, unlock/,
  );
});
