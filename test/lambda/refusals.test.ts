/** Every error of a wrapped function, batch or handler: it has nothing of what it was called with. */
import { expect, test } from "vitest";
import { LockFailedError, type Store } from "../../src/index.js";
import {
  idempotentBatch,
  idempotentFunction,
  idempotentHandler,
  type IdempotentContext,
} from "../../src/lambda.js";
import { memoryStore } from "../../stores/memory.js";
import { invocation } from "../support/lambda.js";
import { expectNoneOf } from "../support/secrets.js";

interface Order {
  readonly id: string;
  readonly note: string;
}

const KEY = "key-of-a-call";
const NOTE = "note-of-a-call";
const ORDER: Order = { id: KEY, note: NOTE };

const charge = { name: "charge", key: ({ id }: Order) => id };

/** Charges once, and gives back what it was called with. */
function once(options: object = {}, store: Partial<Store> = {}, result?: unknown) {
  const run = (order: Order): unknown => result ?? order;
  return idempotentFunction(run, { ...memoryStore(), ...store }, { ...charge, ...options });
}

const down = () => Promise.reject(new Error("ECONNREFUSED"));

/** Each ends in an error of this code. */
const WAYS: readonly (readonly [code: string, how: string, call: () => Promise<unknown>])[] = [
  ["KEY_MISSING", "no key", () => once({ key: () => undefined })(ORDER)],
  ["SCOPE_MISSING", "no scope", () => once({ scope: () => "" })(ORDER)],
  ["KEY_INVALID", "no fingerprint", () => once({ fingerprint: () => "" })(ORDER)],
  [
    "KEY_REUSED",
    "another fingerprint",
    async () => {
      const call = once({ fingerprint: ({ note }: Order) => note });
      await call(ORDER);
      return await call({ ...ORDER, note: `another ${NOTE}` });
    },
  ],
  [
    "REQUEST_IN_PROGRESS",
    "a call that runs elsewhere",
    () => once({}, { lock: async () => ({ state: "in-progress", retryAfterMs: 5_000 }) })(ORDER),
  ],
  [
    "RESPONSE_NOT_KEPT",
    "a result that is no JSON",
    () => once({}, {}, { ...ORDER, at: new Date() })(ORDER),
  ],
  [
    "RESPONSE_NOT_KEPT",
    "a tombstone",
    async () => {
      const call = once({ maxResponseBytes: 0 });
      await call(ORDER);
      return await call(ORDER);
    },
  ],
  [
    "LOCK_FAILED",
    "a store that is full",
    () => once({}, { lock: () => Promise.reject(new LockFailedError("full")) })(ORDER),
  ],
  [
    "LOCK_FAILED",
    "no time left",
    () => {
      const run = async (order: Order, _context: object): Promise<Order> => order;
      return idempotentFunction(run, memoryStore(), charge)(ORDER, invocation(0));
    },
  ],
  ["STORE_UNAVAILABLE", "a store that is down", () => once({}, { lock: down })(ORDER)],
  [
    "STORE_UNAVAILABLE",
    "a result that is not stored",
    () => once({ maxPendingBytes: 0 }, { set: down })(ORDER),
  ],
  [
    "LEASE_LOST",
    "a lease that is over",
    () => {
      const store = memoryStore();
      const lock: Store["lock"] = async (...claim) => {
        const found = await store.lock(...claim);
        return found.state === "acquired"
          ? { ...found, lease: { ...found.lease, validUntil: 0 } }
          : found;
      };
      return once({}, { ...store, lock })(ORDER);
    },
  ],
  [
    "COMMIT_REFUSED",
    "a store without transactions",
    () => {
      const run = async (order: Order, { idempotency }: IdempotentContext) =>
        await idempotency?.commitWith([order], order);
      return idempotentFunction(run, memoryStore(), charge)(ORDER, invocation());
    },
  ],
  [
    "EVENT_UNKNOWN",
    "no batch",
    () =>
      idempotentBatch(() => {}, memoryStore(), { ...charge, key: () => KEY })(ORDER as never, {}),
  ],
  [
    "EVENT_UNKNOWN",
    "no HTTP request",
    () => idempotentHandler(async () => ({}), memoryStore())(ORDER as never, {}),
  ],
];

test.each(WAYS)("P9: %s, by %s", async (code, _, call) => {
  const error: unknown = await call().then(
    () => expect.fail("There should be an error."),
    (reason: unknown) => reason,
  );

  expect(error).toMatchObject({ code });
  expectNoneOf([KEY, NOTE], error);
});
