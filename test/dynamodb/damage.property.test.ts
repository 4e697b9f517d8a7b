/** A stored record that became something else: a retry never runs again, and what stands there stays. */
import { randomUUID } from "node:crypto";
import type { AttributeValue } from "@aws-sdk/client-dynamodb";
import * as fc from "fast-check";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { storageKey } from "../../src/key.js";
import { anyDamage, damaged, type Damage } from "../support/damage.js";
import { expectSame, servePayments } from "../support/payments.js";
import { chunksOf, itemAt, meddle, openStage, storeOn, type Stage } from "./stage.js";

vi.setConfig({ testTimeout: 60_000, hookTimeout: 120_000 });

let stage: Stage;

beforeAll(async () => {
  stage = await openStage();
});
afterAll(() => stage.close());

/** With the rest of an item below DynamoDB's 400 KB. */
const OVERSIZED_BYTES = 300_000;
const anything = anyDamage(OVERSIZED_BYTES).filter(isStorable);

/** An attribute of binary type cannot be a key's, and may be empty. */
function isStorable(damage: Damage): boolean {
  return damage.kind !== "overwritten" || damage.by.length > 0;
}

async function damageBytes(
  id: string,
  attribute: "record" | "part",
  damage: Damage,
): Promise<void> {
  await meddle(stage, id, (item) => {
    const bytes = Buffer.from(item[attribute]?.B ?? []);
    return { ...item, [attribute]: { B: damaged(bytes, damage, 0) } };
  });
}

test.each([
  ["in its key's item", 0, "record"],
  ["in an item of its own", 1, "part"],
] as const)(
  "a record %s that became anything else is refused and stays",
  async (_, parts, attribute) => {
    const store = storeOn(stage, parts === 0 ? {} : { maxInlineBytes: 0 });
    await using payments = await servePayments(store);
    const { server, runs } = payments;
    await fc.assert(
      fc.asyncProperty(anything, async (damage) => {
        const key = randomUUID();
        await server.send({ key });
        const ran = runs();
        const stored = storageKey(key);
        const [id = stored] = await chunksOf(stage, stored);
        expect(id === stored).toBe(parts === 0);
        await damageBytes(id, attribute, damage);
        const planted = await itemAt(stage, id);

        const retry = await server.send({ key });

        expect(retry.status).toBe(503);
        expect(JSON.parse(retry.text)).toMatchObject({ code: "STORE_UNAVAILABLE" });
        expect(runs()).toBe(ran);
        expect(await itemAt(stage, id)).toEqual(planted);
      }),
      { numRuns: 20 },
    );
  },
);

const anyAttribute: fc.Arbitrary<AttributeValue> = fc.oneof(
  fc.string().map((S) => ({ S })),
  fc.constantFrom("held", "completed", "br").map((S) => ({ S })),
  fc.integer().map((N) => ({ N: `${N}` })),
  fc.uint8Array({ minLength: 1, maxLength: 40 }).map((B) => ({ B })),
  fc.constantFrom<AttributeValue>({ NULL: true }, { BOOL: true }, { L: [] }, { M: {} }),
);
/** Not when it ends: who changes that lets it end, and the request run again. */
const names = fc.constantFrom(
  "state",
  "token",
  "fingerprint",
  "record",
  "size",
  "encoding",
  "chunks",
  "sha256",
);

test("an item that became anything else is never executed again, and stays", async () => {
  await using payments = await servePayments(storeOn(stage));
  const { server, runs } = payments;
  let refused = 0;
  await fc.assert(
    fc.asyncProperty(names, fc.option(anyAttribute), async (name, value) => {
      const key = randomUUID();
      const first = await server.send({ key });
      const ran = runs();
      await meddle(stage, storageKey(key), ({ ...item }) => {
        if (value === null) Reflect.deleteProperty(item, name);
        else item[name] = value;
        return item;
      });
      const planted = await itemAt(stage, storageKey(key));

      const retry = await server.send({ key });

      expect(runs()).toBe(ran);
      expect(await itemAt(stage, storageKey(key))).toEqual(planted);
      // What is not read of a record, such as the fingerprint of the lease before it, changes nothing.
      if (retry.status === 201) return expectSame(first, retry);
      expect([409, 422, 503]).toContain(retry.status);
      refused += 1;
    }),
    { numRuns: 50 },
  );
  expect(refused).toBeGreaterThan(10);
});
