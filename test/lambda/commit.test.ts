/** `commitWith` in Lambda: what a handler would return, committed with writes of its own. */
import { setImmediate } from "node:timers/promises";
import { expect, test } from "vitest";
import { idempotentFunction, idempotentHandler, type IdempotentContext } from "../../src/lambda.js";
import { deferred } from "../support/deferred.js";
import { invocation } from "../support/lambda.js";
import { ledgerStore } from "../support/ledger-store.js";
import { eventOf } from "./gateway.js";

const event = eventOf("http-api", { key: "k" });
const options = { onError: () => {} };

test("the first client and the retry get what was committed, whatever the handler returns", async () => {
  const store = ledgerStore();
  const goOn = deferred();
  const handler = idempotentHandler(async (_, { idempotency }: IdempotentContext) => {
    await idempotency?.commitWith([{ name: "p1" }], { statusCode: 201, body: "paid" });
    await goOn.promise;
    return { statusCode: 500, body: "ignored" };
  }, store);

  const first = handler(event, invocation());
  goOn.resolve();

  expect(await first).toEqual({ statusCode: 201, body: "paid" });
  expect(await handler(event, invocation())).toMatchObject({ statusCode: 201, body: "paid" });
  expect(store.ledger).toEqual([{ name: "p1" }]);
});

test("an invocation does not end before its handler: what is left of it would be frozen", async () => {
  const [committed, goOn] = [deferred(), deferred()];
  const handler = idempotentHandler(async (_, { idempotency }: IdempotentContext) => {
    await idempotency?.commitWith([], { statusCode: 201 });
    committed.resolve();
    await goOn.promise;
  }, ledgerStore());

  const answer = handler(event, invocation());
  await committed.promise;
  const first = await Promise.race([answer, setImmediate("still running")]);
  goOn.resolve();

  expect(first).toBe("still running");
  expect(await answer).toMatchObject({ statusCode: 201 });
});

test("a result that could not be kept is not committed", async () => {
  const store = ledgerStore();
  const handler = idempotentHandler(
    async (_, { idempotency }: IdempotentContext) =>
      await idempotency?.commitWith([{ name: "p1" }], { statusCode: "many" }),
    store,
    options,
  );

  await expect(handler(event, invocation())).rejects.toThrow(/cannot be kept: its statusCode/);
  expect(store.ledger).toEqual([]);
});

test("a function commits its result, and every call gets that", async () => {
  const store = ledgerStore();
  const pay = idempotentFunction(
    async (id: string, { idempotency }: IdempotentContext) => {
      await idempotency?.commitWith([{ name: id }], { paid: id });
      return "ignored";
    },
    store,
    { name: "pay", key: (id) => id },
  );

  expect(await pay("p1", invocation() as IdempotentContext)).toEqual({ paid: "p1" });
  expect(await pay("p1", invocation() as IdempotentContext)).toEqual({ paid: "p1" });
  expect(store.ledger).toEqual([{ name: "p1" }]);
});

test("a function that fails after it has committed its result has that result", async () => {
  const store = ledgerStore();
  const pay = idempotentFunction(
    async (id: string, { idempotency }: IdempotentContext) => {
      await idempotency?.commitWith([{ name: id }], { paid: id });
      throw new Error("too late");
    },
    store,
    { name: "pay", key: (id) => id },
  );

  expect(await pay("p1", invocation() as IdempotentContext)).toEqual({ paid: "p1" });
  expect(await pay("p1", invocation() as IdempotentContext)).toEqual({ paid: "p1" });
});

test("a function that ends while its commit is refused has what it returns", async () => {
  const store = ledgerStore();
  const pay = idempotentFunction(
    async (id: string, { idempotency }: IdempotentContext) => {
      // The same line each time: the second is refused.
      idempotency?.commitWith([{ name: "p1" }], "committed").catch(() => undefined);
      return `returned ${id}`;
    },
    store,
    { name: "pay", key: (id) => id },
  );

  expect(await pay("a", invocation() as IdempotentContext)).toBe("committed");
  expect(await pay("b", invocation() as IdempotentContext)).toBe("returned b");
  expect(await pay("b", invocation() as IdempotentContext)).toBe("returned b");
});
