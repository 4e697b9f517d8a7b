/** Events that no sender of Lambda's sends: answered, or refused with an error that says so. */
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { IdempotencyError } from "../../src/errors.js";
import { idempotentHandler, type HttpEvent, type IdempotentContext } from "../../src/lambda.js";
import { memoryStore } from "../../stores/memory.js";
import { eventOf, KINDS } from "./gateway.js";

/** Of an event, and of what is in it. */
const PLACES = [
  ["headers"],
  ["headers", "Idempotency-Key"],
  ["headers", "content-type"],
  ["multiValueHeaders"],
  ["multiValueHeaders", "Idempotency-Key"],
  ["multiValueHeaders", "content-type"],
  ["queryStringParameters"],
  ["queryStringParameters", "a"],
  ["multiValueQueryStringParameters"],
  ["multiValueQueryStringParameters", "a"],
  ["body"],
  ["isBase64Encoded"],
  ["httpMethod"],
  ["path"],
  ["rawPath"],
  ["rawQueryString"],
  ["requestContext"],
  ["requestContext", "http"],
  ["requestContext", "elb"],
] as const;

const change = fc.tuple(fc.constantFrom(...PLACES), fc.jsonValue({ maxDepth: 2 }));
const event = fc
  .tuple(fc.constantFrom(...KINDS), fc.array(change, { maxLength: 3 }))
  .map(([kind, changes]) => {
    const changed: Record<string, unknown> = eventOf(kind, { key: "k", query: "a=1", body: "{}" });
    for (const [[field, name], value] of changes) {
      const parts = changed[field];
      if (name === undefined) changed[field] = value;
      else if (typeof parts === "object" && parts !== null) Object.assign(parts, { [name]: value });
    }
    return changed as unknown as HttpEvent;
  });

test("whatever is in an event, it is answered, or said to be none, and runs once at most", async () => {
  const outcomes = new Set<unknown>();
  await fc.assert(
    fc.asyncProperty(event, async (given) => {
      const keys: unknown[] = [];
      const pay = async (_event: HttpEvent, { idempotency }: IdempotentContext) => {
        keys.push(idempotency?.key);
        return { statusCode: 201, body: "paid" };
      };
      const handler = idempotentHandler(pay, memoryStore(), { required: true });
      const outcome = () =>
        handler(given, {}).then(
          ({ statusCode, body }) => [statusCode, body],
          (error: unknown) => [error instanceof IdempotencyError ? error.code : error],
        );

      const [first, again] = [await outcome(), await outcome()];

      outcomes.add(first[0]);
      expect([201, 400, "EVENT_UNKNOWN"]).toContain(first[0]);
      expect(again).toEqual(first);
      // Other methods than those that are made safe pass, and have no key there.
      const runs = keys[0] === undefined ? 2 : 1;
      expect(keys).toHaveLength(first[0] === 201 ? runs : 0);
    }),
    { numRuns: 600 },
  );
  expect(outcomes).toEqual(new Set([201, 400, "EVENT_UNKNOWN"]));
});
