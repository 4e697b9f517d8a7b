/** A stored record that became something else: a retry never runs again, and what stands there stays. */
import { randomBytes, randomUUID } from "node:crypto";
import * as fc from "fast-check";
import { Redis } from "ioredis";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startRedis, type RedisNode } from "../../infra/services/redis.js";
import type { Store } from "../../src/index.js";
import { storageKey } from "../../src/key.js";
import { encryptedStore } from "../../stores/encrypted.js";
import { redisStore } from "../../stores/redis.js";
import { anyDamage, damaged, type Damage } from "../support/damage.js";
import { expectSame, servePayments } from "../support/payments.js";

/** Values that no store of the kit ever writes. */
const OTHER_TYPES = {
  "a list": ["RPUSH", "of another program"],
  "a set": ["SADD", "of another program"],
  "a sorted set": ["ZADD", "1", "of another program"],
  "a hash": ["HSET", "of", "another program"],
  "a stream": ["XADD", "*", "of", "another program"],
} as const;
type OtherType = keyof typeof OTHER_TYPES;

/** In a value, behind the mark of a record. */
const FRAME_AT = 1;

/** What nodes promise is told elsewhere. */
const QUIET = { onReport: () => {} };

const STORES: Readonly<Record<string, (on: Redis) => Store>> = {
  redisStore: (on) => redisStore(on, QUIET),
  encryptedStore: (on) =>
    encryptedStore(redisStore(on, QUIET), { keys: { now: randomBytes(32) }, current: "now" }),
};

let node: RedisNode;
let client: Redis;

beforeAll(async () => {
  node = await startRedis();
  client = new Redis(node.port);
});
afterAll(async () => {
  client.disconnect();
  await node.close();
});

/** Puts something in place of what stands under a key, for as long; answers a check that nobody has touched it since. */
async function plant(key: string, damage: Damage | OtherType): Promise<() => Promise<void>> {
  const name = `idempotency:${storageKey(key)}`;
  const value = await client.getBuffer(name);
  if (value === null) throw new Error("There is nothing to damage.");
  if (typeof damage === "string") {
    const [command, ...args] = OTHER_TYPES[damage];
    await client
      .multi()
      .del(name)
      .call(command, name, ...args)
      .exec();
  } else {
    await client.set(name, damaged(value, damage, FRAME_AT), "KEEPTTL");
  }
  const look = () => Promise.all([client.dumpBuffer(name), client.pexpiretime(name)]);
  const planted = await look();
  return async () => expect(await look()).toEqual(planted);
}

const anything = fc.oneof(
  { weight: 6, arbitrary: anyDamage() },
  fc.constantFrom(...(Object.keys(OTHER_TYPES) as OtherType[])),
);

test.each(Object.entries(STORES))(
  "in %s a record that became anything else is refused, stays as it is, and nothing runs",
  async (_, open) => {
    await using payments = await servePayments(open(client));
    const { server, runs } = payments;
    await fc.assert(
      fc.asyncProperty(anything, async (damage) => {
        const key = randomUUID();
        await server.send({ key });
        const ran = runs();
        const expectUntouched = await plant(key, damage);

        const retry = await server.send({ key });

        expect(retry.status).toBe(503);
        expect(JSON.parse(retry.text)).toMatchObject({ code: "STORE_UNAVAILABLE" });
        expect(runs()).toBe(ran);
        await expectUntouched();
      }),
      { numRuns: 50 },
    );
  },
);

test("a lock that became anything else while its handler ran: nothing runs again, and no answer is lost", async () => {
  let damage: Damage | OtherType;
  let expectUntouched = async () => {};
  await using payments = await servePayments(redisStore(client, QUIET), async (key) => {
    expectUntouched = await plant(key, damage);
  });
  const { server, runs } = payments;
  const answered = new Set<number>();
  await fc.assert(
    fc.asyncProperty(anything, async (next) => {
      damage = next;
      const key = randomUUID();
      const ran = runs();

      const first = await server.send({ key });
      const retry = await server.send({ key });

      answered.add(first.status);
      expect(runs()).toBe(ran + 1);
      // What still says whose it is, such as a lock with another fingerprint, is the holder's to replace.
      if (first.status === 201) return expectSame(first, retry);
      expect(first.status).toBe(503);
      expect([409, 422, 503]).toContain(retry.status);
      await expectUntouched();
    }),
    { numRuns: 50 },
  );
  expect(answered).toEqual(new Set([201, 503]));
});
