/** The simulation's Redis against the real one: the same commands in any order, the same replies, the same state. */
import * as fc from "fast-check";
import type { Redis } from "ioredis";
import { beforeAll, describe, expect, it } from "vitest";
import { startRedis } from "../../infra/services/redis.js";
import { connectRedis, ready } from "../../stores/redis.js";
import { EXTEND, RELEASE, STORE } from "../../stores/redis/scripts.js";
import { lockMark, lockValue, recordValue } from "../../stores/redis/value.js";
import { RedisTwin, type Argument, type Reply } from "./twin.js";

type Command = readonly [verb: string, ...args: Argument[]];

const KEYS = ["one", "two"];
const TOKENS = ["a", "b", "bb"];
/** Far apart, so that it can be told which of them a key has. */
const TTLS = [100_000, 200_000, 300_000];
const RUNS = 200;
/** How long a run may take without its times being mistaken for each other. */
const SLACK_MS = 40_000;

const key = fc.constantFrom(...KEYS);
const token = fc.constantFrom(...TOKENS);
const ttl = fc.constantFrom(...TTLS);

const command: fc.Arbitrary<Command> = fc.oneof(
  fc.tuple(key, token, ttl).map(([name, owner, ms]): Command => {
    return ["set", name, lockValue(owner, ms, "fingerprint"), "PX", ms, "NX", "GET"];
  }),
  fc.tuple(key, token, ttl).map(([name, owner, ms]): Command => {
    return ["set", name, lockValue(owner, ms, "fingerprint"), "PX", ms];
  }),
  // As the marker is written: for ever.
  fc.tuple(key, token).map(([name, owner]): Command => ["set", name, owner, "NX", "GET"]),
  fc.tuple(key, token).map(([name, owner]): Command => ["set", name, owner]),
  scripted(EXTEND, (owner, ms) => [lockMark(owner), ms]),
  scripted(STORE, (owner, ms) => [lockMark(owner), recordBy(owner), ms, owner]),
  // As who adopts: its own lock, somebody else's record.
  scripted(STORE, (owner, ms) => [lockMark(owner), recordBy("a"), ms, "a"]),
  scripted(RELEASE, (owner) => [lockMark(owner)]),
  key.map((name): Command => ["get", name]),
  key.map((name): Command => ["del", name]),
  fc.constant<Command>(["ping"]),
);

function scripted(
  { sha, lua }: { readonly sha: string; readonly lua: string },
  argsFor: (owner: string, ms: number) => readonly Argument[],
): fc.Arbitrary<Command> {
  return fc.tuple(fc.boolean(), key, token, ttl).map(([byHash, name, owner, ms]): Command => {
    return run(byHash ? ["evalsha", sha] : ["eval", lua], name, argsFor(owner, ms));
  });
}

function run(
  [verb, script]: readonly [string, string],
  name: string,
  args: readonly Argument[],
): Command {
  return [verb, script, 1, name, ...args];
}

function recordBy(owner: string): Buffer {
  const response = {
    statusCode: 201,
    headers: [],
    body: Buffer.from(`by ${owner}`),
    timestamp: 0,
    expiresAt: 1,
    fingerprint: "fingerprint",
  };
  return recordValue({ token: owner, response });
}

let redis: Redis;

beforeAll(async () => {
  const node = await startRedis({ persistence: "none" });
  redis = connectRedis(node.url) as Redis;
  await ready(redis);
  return async () => {
    redis.disconnect();
    await node.close();
  };
});

describe("the simulated node", () => {
  it("answers and keeps what a real one does, whatever it is told", async () => {
    let compared = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(command, { minLength: 1, maxLength: 25 }), async (commands) => {
        await redis.call("FLUSHALL");
        await redis.call("SCRIPT", "FLUSH");
        const twin = new RedisTwin();
        for (const told of commands) {
          expect(await replyOf(() => toTwin(twin, told))).toEqual(await replyOf(() => sent(told)));
          compared += 1;
        }
        for (const name of KEYS) {
          expect(twin.peek(Date.now(), name) ?? null).toEqual(await redis.getBuffer(name));
          const leftMs = Number(await redis.call("PTTL", name));
          expect(Math.abs(twin.leftMs(name) - leftMs)).toBeLessThan(SLACK_MS);
        }
      }),
      { numRuns: RUNS },
    );
    expect(compared).toBeGreaterThan(RUNS);
  }, 120_000);

  it("forgets a key when its time is over, like a real one", async () => {
    const name = "short-lived";
    const twin = new RedisTwin();
    const now = Date.now();
    const lock: Command = ["set", name, lockValue("a", 30, "fingerprint"), "PX", 30, "NX", "GET"];
    expect(twin.execute(now, lock[0], lock.slice(1))).toEqual(await sent(lock));
    await expect.poll(() => redis.getBuffer(name)).toBeNull();
    expect(twin.peek(now + 30, name)).toBeDefined();
    expect(twin.peek(now + 31, name)).toBeUndefined();
  });

  it("comes back without scripts, with or without its data", () => {
    const twin = new RedisTwin();
    const now = Date.now();
    twin.execute(now, "set", ["key", lockValue("a", 1_000, "fingerprint"), "PX", 1_000]);
    twin.execute(now, "eval", [RELEASE.lua, 1, "other", lockMark("a")]);
    twin.restart({ keepData: true });
    expect(twin.peek(now, "key")).toBeDefined();
    expect(() => twin.execute(now, "evalsha", [RELEASE.sha, 1, "key", lockMark("a")])).toThrow(
      "NOSCRIPT",
    );
    twin.restart({ keepData: false });
    expect(twin.peek(now, "key")).toBeUndefined();
  });
});

function toTwin(twin: RedisTwin, [verb, ...args]: Command): Reply {
  return twin.execute(Date.now(), verb, args);
}

async function sent([verb, ...args]: Command): Promise<unknown> {
  const method = `${verb}Buffer` as const;
  return await (redis as unknown as Record<string, (...args: unknown[]) => Promise<unknown>>)[
    method
  ]?.(...args);
}

/** A refusal is a reply too; of its text only the code is promised. */
async function replyOf(call: () => unknown): Promise<unknown> {
  try {
    return await call();
  } catch (error) {
    const { name, message } = error as Error;
    return `${name} ${message.split(" ")[0]}`;
  }
}
