/** Processes whose clocks are wrong: DynamoDB's replies tell the time. */
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { DynamoDBDocumentClient } from "@aws-sdk/lib-dynamodb";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import {
  acquire,
  answer,
  expectCompleted,
  expectHeld,
  FINGERPRINT,
  LONG_MS,
} from "../../src/testing/stage.js";
import type { Store } from "../../src/index.js";
import { ServerClock } from "../../stores/dynamodb/clock.js";
import type { DynamodbOptions } from "../../stores/dynamodb.js";
import { clientOf, end, itemAt, openStage, storeOn, type Stage } from "./stage.js";

vi.setConfig({ testTimeout: 30_000, hookTimeout: 120_000 });

describe("the clock", () => {
  let wall = 0;
  let monotonic = 0;

  function start(): ServerClock {
    wall = 1_700_000_000_500;
    monotonic = 1_000;
    vi.spyOn(Date, "now").mockImplementation(() => wall);
    vi.spyOn(performance, "now").mockImplementation(() => monotonic);
    return new ServerClock();
  }

  function pass(ms: number): void {
    wall += ms;
    monotonic += ms;
  }

  /** A reply of a server whose clock is `aheadMs` ahead, after a round trip of 20 ms. */
  function reply(clock: ServerClock, aheadMs: number): void {
    const sentAt = wall;
    pass(10);
    const date = new Date(Math.floor((wall + aheadMs) / 1_000) * 1_000).toUTCString();
    pass(10);
    clock.hear(date, sentAt);
  }

  afterEach(() => {
    vi.restoreAllMocks();
  });

  test("is its own before any reply, and says that it does not know", () => {
    const clock = start();
    expect(clock.known).toBe(false);
    expect(clock.now()).toBe(wall);
    clock.trustOwn();
    expect(clock.known).toBe(true);
  });

  test.each([-3_600_000, -10_000, 0, 700, 10_000])(
    "%i ms: known to a second after one reply, and after some to a round trip",
    (aheadMs) => {
      const clock = start();
      const error = () => Math.abs(clock.now() - (wall + aheadMs));
      reply(clock, aheadMs);
      expect(clock.known).toBe(true);
      expect(error()).toBeLessThanOrEqual(510);
      for (let turn = 0; turn < 40; turn += 1) {
        pass(37);
        reply(clock, aheadMs);
      }
      expect(error()).toBeLessThanOrEqual(60);
    },
  );

  test("is not known any more when somebody sets this process's clock, or it was frozen", () => {
    const clock = start();
    reply(clock, 0);
    pass(3_600_000);
    expect(clock.known).toBe(true);
    wall += 5_000;
    expect(clock.known).toBe(false);
    reply(clock, -5_000);
    expect(clock.known).toBe(true);
    expect(Math.abs(clock.now() - (wall - 5_000))).toBeLessThanOrEqual(510);
  });

  test("learns nothing from a reply that was on its way while the process was frozen or its clock set", () => {
    const clock = start();
    const sentAt = wall;
    const date = new Date(wall).toUTCString();
    wall += 3_600_000;
    clock.hear(date, sentAt);
    expect(clock.known).toBe(false);
    clock.hear(date, wall + 5_000);
    expect(clock.known).toBe(false);
  });

  test("learns nothing from a reply without a date, or with nonsense", () => {
    const clock = start();
    clock.hear(undefined, wall);
    clock.hear("yesterday", wall);
    expect(clock.known).toBe(false);
  });
});

describe("stores whose clocks are ten seconds off", () => {
  let stage: Stage;
  beforeAll(async () => {
    stage = await openStage();
  });
  afterAll(() => stage.close());

  /** A process with a clock of its own: whatever it does, it does by that. */
  function skewed(aheadMs: number, options: Partial<DynamodbOptions> = {}): Store {
    const store = storeOn(stage, options);
    const real = Date.now.bind(Date);
    // One store works at a time, so that its clock is everybody's for as long as it does.
    const by = async <T>(verb: () => Promise<T>): Promise<T> => {
      const spy = vi.spyOn(Date, "now").mockImplementation(() => real() + aheadMs);
      try {
        return await verb();
      } finally {
        spy.mockRestore();
      }
    };
    return {
      get: (key) => by(() => store.get(key)),
      lock: (...args) => by(() => store.lock(...args)),
      extend: (...args) => by(() => store.extend(...args)),
      set: (...args) => by(() => store.set(...args)),
      unlock: (lease) => by(() => store.unlock(lease)),
      delete: (key) => by(() => store.delete(key)),
    };
  }

  const PAIRS = [
    [10_000, -10_000],
    [-10_000, 10_000],
  ] as const;
  const LEASE_MS = 5_000;

  test.each([-10_000, 10_000])(
    "%i ms: a process whose first verb is a renewal renews by DynamoDB's time",
    async (aheadMs) => {
      const lease = await acquire(storeOn(stage), randomUUID());

      expect(await skewed(aheadMs).extend(lease, LONG_MS)).toBe(true);

      const endsAt = Number((await itemAt(stage, lease.key))?.["endsAt"]?.N);
      expect(Math.abs(endsAt - Date.now() - LONG_MS)).toBeLessThan(5_000);
    },
  );

  const CLIENTS: readonly [string, () => DynamodbOptions["client"]][] = [
    ["one of the store's own", () => undefined],
    ["one that was given", () => clientOf(stage.server.url)],
    [
      "one that was given, and keeps its middleware",
      () => clientOf(stage.server.url, { cacheMiddleware: true }),
    ],
    ["a document client", () => DynamoDBDocumentClient.from(clientOf(stage.server.url))],
  ];

  test.each(CLIENTS)("DynamoDB's time is heard through each client: %s", async (_, clientFor) => {
    const client = clientFor();
    const lease = await acquire(storeOn(stage), randomUUID());

    expect(await skewed(10_000, { client }).extend(lease, LONG_MS)).toBe(true);

    const endsAt = Number((await itemAt(stage, lease.key))?.["endsAt"]?.N);
    expect(Math.abs(endsAt - Date.now() - LONG_MS)).toBeLessThan(5_000);
  });

  test.each(PAIRS)(
    "holder %i ms, contender %i ms: the lease holds as long as it says",
    async (holderMs, otherMs) => {
      const [holder, other] = [skewed(holderMs), skewed(otherMs)];
      const key = randomUUID();

      const lease = await acquire(holder, key, LEASE_MS);

      const ends = Number((await itemAt(stage, key))?.["endsAt"]?.N);
      expect(Math.abs(ends - (Date.now() + LEASE_MS))).toBeLessThan(2_500);
      const claim = await other.lock(key, FINGERPRINT, LONG_MS);
      expect(claim).toMatchObject({ state: "in-progress" });
      expect(await holder.extend(lease, LONG_MS)).toBe(true);
      await expectHeld(other, key);
    },
  );

  test.each(PAIRS)(
    "writer %i ms, reader %i ms: the record is replayed until it ends",
    async (writerMs, readerMs) => {
      const [writer, reader] = [skewed(writerMs), skewed(readerMs)];
      const key = randomUUID();
      const response = answer({}, LEASE_MS);
      await writer.set(await acquire(writer, key), response, LEASE_MS);

      await expectCompleted(reader, key, response);
      expect(await reader.extend(await acquire(writer, `${key}-2`), LEASE_MS)).toBe(true);
    },
  );

  /** Whose first claim was sent before any reply told the time, and what it sent. */
  function counted(aheadMs: number) {
    const sent: string[] = [];
    const client: DynamodbOptions["client"] = {
      send: (command: never, options) => {
        sent.push((command as object).constructor.name);
        return stage.client.send(command, options);
      },
    };
    return { sent, store: skewed(aheadMs, { client }) };
  }

  test("the first claim of a process is one round trip, and so is its first replay", async () => {
    const key = randomUUID();
    const response = answer({}, LONG_MS);
    // In the middle of a second, where its date is as exact as can be.
    await sleep((1_500 - (Date.now() % 1_000)) % 1_000);
    const holder = counted(0);
    const lease = await acquire(holder.store, key);
    expect(holder.sent).toEqual(["UpdateItemCommand"]);
    const other = counted(0);
    const refused = await other.store.lock(key, FINGERPRINT, LONG_MS);
    expect(refused).toMatchObject({ state: "in-progress" });
    expect(other.sent).toEqual(["UpdateItemCommand"]);

    await holder.store.set(lease, response, LONG_MS);
    const third = counted(0);
    const replay = await third.store.lock(key, FINGERPRINT, LONG_MS);
    expect(replay).toMatchObject({ state: "completed", response: { body: response.body } });
    expect(third.sent).toEqual(["UpdateItemCommand"]);
  });

  test("a process that knows the time takes over what is over in one round trip", async () => {
    const key = randomUUID();
    await acquire(skewed(0), key);
    await end(stage, key);
    const successor = counted(0);
    await successor.store.get(randomUUID());
    const claim = await successor.store.lock(key, FINGERPRINT, LEASE_MS);
    expect(claim).toMatchObject({ state: "acquired", takeover: true });
    expect(successor.sent).toEqual(["GetItemCommand", "UpdateItemCommand"]);
  });

  test.each([-10_000, 10_000])(
    "%i ms: the first claim is corrected, and takes what is over, and nothing else",
    async (aheadMs) => {
      const fresh = counted(aheadMs);
      await acquire(fresh.store, randomUUID(), LEASE_MS);
      expect(fresh.sent).toEqual(["UpdateItemCommand", "UpdateItemCommand"]);

      const key = randomUUID();
      await acquire(skewed(0), key);
      await end(stage, key);
      const successor = counted(aheadMs);
      const claim = await successor.store.lock(key, FINGERPRINT, LEASE_MS);
      expect(claim).toMatchObject({ state: "acquired", takeover: true });
      expect(successor.sent).toEqual(["UpdateItemCommand", "UpdateItemCommand"]);
      const ends = Number((await itemAt(stage, key))?.["endsAt"]?.N);
      expect(Math.abs(ends - (Date.now() + LEASE_MS))).toBeLessThan(2_500);
    },
  );

  test("who is overtaken before the correction arrives does not hold the key", async () => {
    const key = randomUUID();
    const other = skewed(0);
    await other.get(key);
    let requests = 0;
    const late = skewed(-10_000, {
      client: {
        send: async (command: never, options) => {
          requests += 1;
          // By the clock of everybody else, that lease was over before it began.
          if (requests === 2) await acquire(other, key);
          return stage.client.send(command, options);
        },
      },
    });
    expect(await late.lock(key, FINGERPRINT, LEASE_MS)).toMatchObject({ state: "in-progress" });
  });
});
