/** Whatever is given as options: a factory returns, or throws one OptionsError that says which of them is wrong. */
import * as fc from "fast-check";
import { afterAll, describe, expect, test, vi } from "vitest";
import { retryingFetch } from "../../src/client.js";
import { idempotentFetchHandler } from "../../src/fetch.js";
import { idempotency, OptionsError } from "../../src/index.js";
import { idempotentBatch, idempotentFunction, idempotentHandler } from "../../src/lambda.js";
import { idempotencyMiddleware } from "../../src/middy.js";
import { dynamodbStore } from "../../stores/dynamodb.js";
import { encryptedStore } from "../../stores/encrypted.js";
import { withLocalCache } from "../../stores/local-cache.js";
import { memoryStore } from "../../stores/memory.js";
import { connectRedis, redisStore } from "../../stores/redis.js";
import { redlockStore } from "../../stores/redlock.js";
import { anyOptions, anyValue } from "../support/any-value.js";
import { serve } from "../support/http.js";

const LAZY = { lazyConnect: true, cluster: { lazyConnect: true } };
const handler = async () => new Response();
const store = memoryStore();
const clients = [1, 2, 3].map((port) => connectRedis(`redis://127.0.0.1:${port}`, LAZY));
const [client] = clients;

/** Each takes what TypeScript would not let through. */
type Factory = (given: never) => unknown;

const FACTORIES: Readonly<Record<string, Factory>> = {
  idempotency: (given) => idempotency(store, given),
  idempotentFetchHandler: (given) => idempotentFetchHandler(handler, store, given),
  idempotentHandler: (given) => idempotentHandler(handler, store, given),
  idempotencyMiddleware: (given) => idempotencyMiddleware(store, given),
  idempotentFunction: (given) => idempotentFunction(handler, store, given),
  idempotentBatch: (given) => idempotentBatch(handler, store, given),
  retryingFetch: (given) => retryingFetch(given),
  memoryStore: (given) => memoryStore(given),
  withLocalCache: (given) => withLocalCache(store, given),
  encryptedStore: (given) => encryptedStore(store, given),
  redisStore: (given) => redisStore(client as never, given),
  redlockStore: (given) => redlockStore(clients, given),
  dynamodbStore: (given) => dynamodbStore(given),
};

/** What else they are given: a store, a handler, clients. */
const SUBJECTS: Readonly<Record<string, Factory>> = {
  "the store of idempotency": (given) => idempotency(given),
  "the store of idempotentFetchHandler": (given) => idempotentFetchHandler(handler, given),
  "the handler of idempotentFetchHandler": (given) => idempotentFetchHandler(given, store),
  "the store of idempotentHandler": (given) => idempotentHandler(handler, given),
  "the handler of idempotentHandler": (given) => idempotentHandler(given, store),
  "the store of withLocalCache": (given) => withLocalCache(given),
  "the store of encryptedStore": (given) => encryptedStore(given, KEYS),
  "the client of redisStore": (given) => redisStore(given),
  "the clients of redlockStore": (given) => redlockStore(given),
  "a client of redlockStore": (given) => redlockStore([...clients.slice(1), given]),
  "the URL of connectRedis": (given) => connectRedis(given, LAZY),
  "the URLs of connectRedis": (given) => connectRedis([given, "redis+cluster://a"] as never, LAZY),
};

const SECRET = Buffer.alloc(32, "secret").toString("base64");
const KEYS = { keys: { now: SECRET }, current: "now" };

// That no server can be reached is no matter of this file.
vi.spyOn(process, "emitWarning").mockImplementation(() => undefined);

afterAll(() => {
  for (const one of clients) one.disconnect();
});

/** What a factory says of it; nothing where it is taken. Any other error than the one it may throw fails the test. */
function mistakesOf(make: Factory, given: unknown): readonly string[] {
  try {
    make(given as never);
    return [];
  } catch (error) {
    if (!(error instanceof OptionsError) || error.code !== "OPTIONS_INVALID") throw error;
    if (error.mistakes.length === 0)
      throw new Error("It was refused for nothing.", { cause: error });
    return error.mistakes;
  }
}

/** Asked of the factory itself, so that no option is left out. */
function namesOf(make: Factory): string[] {
  const [mistake = ""] = mistakesOf(make, { nobody: 1 });
  return /known are (.*)$/.exec(mistake)?.[1]?.split(", ") ?? [];
}

/** Longer than any advice, shorter than a value that is dumped. */
const LONGEST_MISTAKE = 600;

function longestOf(mistakes: readonly string[]): number {
  return Math.max(0, ...mistakes.map(({ length }) => length));
}

describe.each(Object.entries(FACTORIES))("%s", (_, make) => {
  const names = namesOf(make);

  test("knows its options", () => {
    expect(names.length).toBeGreaterThan(1);
  });

  test("takes any options, or says which are wrong", () => {
    const words = [...names, "of keys", "each key"];
    fc.assert(
      fc.property(anyOptions(names), (given) => {
        const mistakes = mistakesOf(make, given);
        const nameless = mistakes.filter((one) => !words.some((word) => one.includes(word)));
        expect(nameless).toEqual([]);
        expect(longestOf(mistakes)).toBeLessThan(LONGEST_MISTAKE);
      }),
      { numRuns: 300 },
    );
  });

  test("takes anything in place of its options, or says what is wrong", () => {
    fc.assert(
      fc.property(anyValue, (given) => {
        expect(longestOf(mistakesOf(make, given))).toBeLessThan(LONGEST_MISTAKE);
      }),
    );
  });
});

test.each(Object.entries(SUBJECTS))(
  "%s may be anything, or it is said what is wrong",
  (_, make) => {
    fc.assert(
      fc.property(anyValue, (given) => {
        expect(longestOf(mistakesOf(make, given))).toBeLessThan(LONGEST_MISTAKE);
      }),
    );
  },
);

describe("no message repeats a credential", () => {
  test("a key, wherever it was put", () => {
    const secret = fc.uint8Array({ minLength: 32, maxLength: 32 }).map(base64);
    const places = fc.constantFrom<(key: string) => unknown>(
      (key) => key,
      (key) => ({ keys: key, current: "now" }),
      (key) => ({ ...KEYS, current: key }),
      (key) => ({ ...KEYS, acceptUnencrypted: key }),
      (key) => ({ keys: { [key]: "now" }, current: "now" }),
      (key) => ({ keys: { now: `${key} ` }, current: "now" }),
    );
    fc.assert(
      fc.property(secret, places, (key, place) => {
        const mistakes = mistakesOf((given) => encryptedStore(store, given), place(key));
        expect(mistakes).not.toEqual([]);
        expect(mistakes.join()).not.toContain(key.slice(0, 8));
      }),
    );
  });

  test("a Redis URL, however it is malformed", () => {
    const scheme = fc.constantFrom("redis", "rediss", "redis+sentinel", "redis+cluster", "http");
    const noise = fc.string({ unit: "binary", maxLength: 12 });
    const host = fc.oneof(noise, fc.constantFrom("a", "a:1", "[::1]", "a:99999", "a,b", "ä", "%"));
    const parts = fc.tuple(scheme, fc.constantFrom("://", ":/", ""), noise, host, noise);
    const connect: Factory = (given) => {
      connectRedis(given, LAZY).disconnect();
    };
    let refused = 0;
    fc.assert(
      fc.property(parts, ([kind, slashes, user, at, path]) => {
        const url = `${kind}${slashes}${user}:${SECRET}@${at}/${path}`;
        const mistakes = mistakesOf(connect, url);
        refused += mistakes.length;
        expect(mistakes.join()).not.toContain(SECRET.slice(0, 8));
      }),
      { numRuns: 1_000 },
    );
    expect(refused).toBeGreaterThan(100);
  });
});

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("base64");
}

test("an address of documentation that is taken can stand in every answer", async () => {
  const spoiled = fc
    .tuple(
      fc.webUrl({ withFragments: true }),
      fc.nat(),
      fc.constantFrom("\n", "ü", "<", ">", " ", "€"),
    )
    .map(([url, at, char]) => url.slice(0, at % url.length) + char + url.slice(at % url.length));
  await fc.assert(
    fc.asyncProperty(fc.oneof(fc.webUrl(), spoiled), async (docsUrl) => {
      if (mistakesOf((given) => idempotency(store, given), { docsUrl }).length > 0) return;
      const safe = idempotency(memoryStore(), { docsUrl });
      await using server = await serve(safe.wrap((_req, res) => res.end()));
      const { status, headers } = await server.send({ key: "" });
      expect([status, headers["link"]]).toEqual([400, `<${docsUrl}>; rel="describedby"`]);
    }),
    { numRuns: 100 },
  );
});
