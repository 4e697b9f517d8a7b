/** Any function whose calls have a key. */
import * as fc from "fast-check";
import { describe, expect, test, vi } from "vitest";
import type { Store } from "../../src/index.js";
import { idempotentFunction, idempotentHandler, type IdempotentContext } from "../../src/lambda.js";
import { memoryStore } from "../../stores/memory.js";
import { fakeClock } from "../support/clock.js";
import { deferred } from "../support/deferred.js";
import { invocation } from "../support/lambda.js";
import { eventOf } from "./gateway.js";

// For machines that are slow; what hangs is still found.
vi.setConfig({ testTimeout: 30_000 });

interface Order {
  readonly id: string;
  readonly amount?: number;
}

const key = (order: Order) => order.id;
type Run = (order: Order) => unknown;
const charge = { name: "charge", key };
const order: Order = { id: "o1", amount: 1 };

const broken = async () => {
  throw new Error("ECONNREFUSED");
};

test("the first call runs, later ones get its result, each a copy", async () => {
  const run = vi.fn<(o: Order) => Promise<object>>(async (o) => ({
    charged: o.amount,
    at: [1, null],
  }));
  const once = idempotentFunction(run, memoryStore(), charge);

  const first = (await once(order)) as { at: unknown[] };
  first.at.push("changed");
  expect(await once(order)).toEqual({ charged: 1, at: [1, null] });
  expect(await once({ id: "o2", amount: 2 })).toEqual({ charged: 2, at: [1, null] });
  expect(run).toHaveBeenCalledTimes(2);
});

test("a function that returns at once or returns nothing counts too", async () => {
  const run = vi.fn<(o: Order) => void>();
  const once = idempotentFunction(run, memoryStore(), charge);
  expect(await once(order)).toBeUndefined();
  expect(await once(order)).toBeUndefined();
  expect(run).toHaveBeenCalledTimes(1);
});

test("a call in progress is an error, and with onConflict 'wait' the result", async () => {
  const [started, finish] = [deferred(), deferred()];
  const store = memoryStore();
  const run: Run = async () => {
    started.resolve();
    await finish.promise;
    return "charged";
  };
  const first = idempotentFunction(run, store, charge)(order);
  await started.promise;

  await expect(idempotentFunction(run, store, charge)(order)).rejects.toMatchObject({
    name: "RequestInProgressError",
    code: "REQUEST_IN_PROGRESS",
  });
  const waiting = idempotentFunction(run, store, { ...charge, onConflict: "wait" })(order);
  finish.resolve();
  expect(await Promise.all([first, waiting])).toEqual(["charged", "charged"]);
});

test.each([undefined, "", null, 7, Number.NaN])(
  "C39: %o is no key: the call is an error and does not run",
  async (none) => {
    const run = vi.fn<() => void>();
    const lock = vi.fn<Store["lock"]>();
    const once = idempotentFunction(
      run,
      { ...memoryStore(), lock },
      { name: "charge", key: () => none as string },
    );
    await expect(once()).rejects.toMatchObject({ code: "KEY_MISSING" });
    expect(run).not.toHaveBeenCalled();
    expect(lock).not.toHaveBeenCalled();
  },
);

test("another fingerprint under a used key is an error; without the option, only the key counts", async () => {
  const store = memoryStore();
  const fingerprint = (o: Order) => String(o.amount);
  const once = idempotentFunction((o: Order) => o.amount, store, { ...charge, fingerprint });
  expect(await once(order)).toBe(1);
  await expect(once({ ...order, amount: 2 })).rejects.toMatchObject({ code: "KEY_REUSED" });
  const free = idempotentFunction((o: Order) => o.amount, memoryStore(), charge);
  expect([await free(order), await free({ ...order, amount: 2 })]).toEqual([1, 1]);
  const none = idempotentFunction(() => 1, store, {
    name: "charge",
    key: () => "k",
    fingerprint: () => "",
  });
  await expect(none()).rejects.toMatchObject({ code: "KEY_INVALID" });
});

test("C7: the key of another function, of another scope and of a request is another key", async () => {
  const store = memoryStore();
  const named = (name: string, scope?: () => string) =>
    idempotentFunction<unknown, [Order], string>(() => name, store, { name, key, scope });
  expect(await named("charge")(order)).toBe("charge");
  expect(await named("email")(order)).toBe("email");
  expect(await named("charge", () => "tenant")(order)).toBe("charge");
  await expect(named("charge", () => "")(order)).rejects.toMatchObject({ code: "SCOPE_MISSING" });
  const handler = idempotentHandler(async () => ({ statusCode: 200, body: "" }), store);
  expect(await handler(eventOf("rest", { key: order.id }), {})).toMatchObject({ statusCode: 200 });
});

test("what the function throws is thrown, and the key is free again", async () => {
  const error = new Error("declined");
  const run = vi.fn<() => string>().mockImplementationOnce(() => {
    throw error;
  });
  run.mockReturnValue("charged");
  const once = idempotentFunction(run, memoryStore(), { name: "charge", key: () => "k" });
  await expect(once()).rejects.toBe(error);
  expect(await once()).toBe("charged");
});

describe("a result that JSON would not give back as it was", () => {
  const cyclic: unknown[] = [];
  cyclic.push({ cyclic });
  class Money {
    readonly amount = 1;
  }
  test.each<[string, unknown, string]>([
    ["a Date", { paid: { at: new Date(0) } }, "the result.paid.at is an instance of Date"],
    ["a Map", new Map(), "the result is an instance of Map"],
    ["a class", [new Money()], "the result[0] is an instance of Money"],
    ["bytes", Buffer.from("x"), "the result is an instance of Buffer"],
    ["NaN", { rate: Number.NaN }, "the result.rate is no finite number"],
    ["Infinity", Infinity, "the result is no finite number"],
    ["a BigInt", 1n, "the result is of type bigint"],
    ["a function", () => {}, "the result is of type function"],
    ["a symbol", Symbol("x"), "the result is of type symbol"],
    ["undefined in a list", [undefined], "the result[0] is of type undefined"],
    ["itself", cyclic, "the result[0].cyclic contains itself"],
    ["toJSON", { toJSON: () => 1 }, "the result has a toJSON method"],
    ["a symbol's property", { [Symbol("x")]: 1 }, "the result has properties named by symbols"],
  ])(
    "P6: %s is an error at once, which names the place, and later; it does not run again",
    async (_, result, place) => {
      const run = vi.fn<() => unknown>(() => result);
      const once = idempotentFunction(run, memoryStore(), { name: "charge", key: () => "k" });
      await expect(once()).rejects.toMatchObject({
        code: "RESPONSE_NOT_KEPT",
        message: expect.stringContaining(place),
      });
      await expect(once()).rejects.toMatchObject({ code: "RESPONSE_NOT_KEPT" });
      expect(run).toHaveBeenCalledTimes(1);
    },
  );

  test("P6: nor does one nested deeper than the stack", async () => {
    let deep: unknown[] = [];
    for (let i = 0; i < 100_000; i += 1) deep = [deep];
    const once = idempotentFunction(() => deep, memoryStore(), { name: "charge", key: () => "k" });
    await expect(once()).rejects.toMatchObject({ code: "RESPONSE_NOT_KEPT" });
  });

  test("all other results come back equal, to the first caller and the next", async () => {
    await fc.assert(
      fc.asyncProperty(fc.jsonValue(), async (value) => {
        const once = idempotentFunction(() => value, memoryStore(), {
          name: "any",
          key: () => "k",
        });
        const [first, next] = [await once(), await once()];
        expect(first).toEqual(next);
        // JSON has no negative zero.
        expect(JSON.stringify(first)).toBe(JSON.stringify(value));
      }),
    );
  });

  test("properties that are undefined are left out for both, and objects without prototype become plain", async () => {
    const result = Object.assign(Object.create(null) as object, { a: undefined, b: "\ud800" });
    const once = idempotentFunction(() => result, memoryStore(), { name: "any", key: () => "k" });
    for (const got of [await once(), await once()]) expect(got).toStrictEqual({ b: "\ud800" });
  });
});

test("a result longer than maxResponseBytes is returned once; later calls are an error", async () => {
  const once = idempotentFunction(() => "xxxx", memoryStore(), {
    name: "any",
    key: () => "k",
    maxResponseBytes: 5,
  });
  expect(await once()).toBe("xxxx");
  await expect(once()).rejects.toMatchObject({ code: "RESPONSE_NOT_KEPT" });
});

test("P8: a store that is down is an error and nothing runs, unless the options say so", async () => {
  const run = vi.fn<() => string>(() => "charged");
  const store = { ...memoryStore(), lock: broken };
  const options = { name: "charge", key: () => "k" };
  await expect(idempotentFunction(run, store, options)()).rejects.toMatchObject({
    code: "STORE_UNAVAILABLE",
  });
  expect(run).not.toHaveBeenCalled();
  expect(await idempotentFunction(run, store, { ...options, onStoreFailure: "execute" })()).toBe(
    "charged",
  );
});

test("P3: a result that cannot be stored is not reported as success", async () => {
  const store = { ...memoryStore(), set: broken };
  const once = idempotentFunction(() => "charged", store, {
    name: "charge",
    key: () => "k",
    maxPendingBytes: 0,
  });
  await expect(once()).rejects.toMatchObject({ code: "STORE_UNAVAILABLE" });
});

test("its this is kept, and a Lambda's context among the arguments tells the key and ends the lease", async () => {
  using _clock = fakeClock();
  const store = memoryStore();
  const lock = vi.fn<Store["lock"]>((...args) => store.lock(...args));
  const service = {
    name: "shipping",
    ship: idempotentFunction(
      async function (this: { name: string }, event: Order, context: IdempotentContext) {
        return [this.name, event.id, context.idempotency?.key];
      },
      { ...store, lock },
      { name: "ship", key },
    ),
  };
  const context = invocation(2_000);
  expect(await service.ship(order, context)).toEqual(["shipping", "o1", "o1"]);
  expect(lock.mock.calls[0]?.[2]).toBe(2_000);
  expect(context).not.toHaveProperty("idempotency");
});

test.each<[string, unknown, unknown, RegExp]>([
  ["no options", () => {}, undefined, /name is required.*key is required/],
  ["no name", () => {}, { key }, /name is required/],
  ["an empty name", () => {}, { name: "", key }, /name must be a text/],
  ["a key that is no function", () => {}, { name: "x", key: "id" }, /key must be a function/],
  ["an option of handlers", () => {}, { ...charge, shouldStore: () => true }, /unknown option/],
  [
    "a lease longer than the TTL",
    () => {},
    { ...charge, leaseMs: 900, ttlMs: 300 },
    /must not exceed/,
  ],
  ["no function", undefined, charge, /must be a function/],
])("C43: %s is refused at construction", (_, fn, options, message) => {
  const make = () => idempotentFunction(fn as Run, memoryStore(), options as typeof charge);
  expect(make).toThrow(message);
});
