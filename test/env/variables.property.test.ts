/** Whatever the environment says: it is taken, or refused by one error that names variables and repeats no credential. */
import * as fc from "fast-check";
import { expect, test, vi } from "vitest";
import { OptionsError } from "../../src/errors.js";
import { optionsFromEnv, storeFromEnv } from "../../stores/from-env.js";
import { VARIABLES } from "../../stores/from-env/variables.js";

type Env = Readonly<Record<string, string>>;

/** No word of any message, and no part of it either. */
const SECRET = "hunter2-zq";

const text = fc.string({ unit: "binary", maxLength: 12 });
const secretly = fc.tuple(text, text).map(([before, after]) => before + SECRET + after);
const host = fc.oneof(text, fc.constantFrom("127.0.0.1:1", "[::1]:1", "a,b", "localhost:99999"));
/** Redis URLs with a password, most of them malformed somewhere. */
const redisUrl = fc
  .tuple(
    fc.constantFrom("redis", "rediss", "redis+sentinel", "redis+cluster", "REDIS", "reddis", ""),
    fc.constantFrom("://", ":/", ":", ""),
    fc.oneof(secretly, fc.constant(`:${SECRET}`)),
    host,
    fc.constantFrom("", "/", "/1", "/main/2", `/${SECRET}`, `?password=${SECRET}`),
  )
  .map(([scheme, slashes, user, at, rest]) => `${scheme}${slashes}${user}@${at}${rest}`);
const redlockUrl = fc
  .tuple(fc.array(redisUrl, { maxLength: 4 }), fc.constantFrom(",", ", ", ";"))
  .map(([urls, comma]) => `redlock:${urls.join(comma)}`);
const dynamodbUrl = fc
  .tuple(
    fc.oneof(text, fc.constantFrom("payments", `u:${SECRET}@payments`)),
    fc.dictionary(fc.oneof(text, fc.constantFrom("region", "endpoint", "expiry")), secretly, {
      maxKeys: 3,
    }),
  )
  .map(
    ([table, parameters]) => `dynamodb://${table}?${new URLSearchParams(parameters).toString()}`,
  );
const anyText = fc.oneof(
  text,
  secretly,
  redisUrl,
  redlockUrl,
  dynamodbUrl,
  fc.integer().map(String),
  fc.constantFrom("memory:", "true", "wait", "execute", "1e3", " 9000 ", "0x10", "__proto__"),
);
const known = fc.constantFrom(...VARIABLES);
const unknown = fc
  .string({ unit: fc.constantFrom("A", "B", "Z", "_", "0", "é"), maxLength: 20 })
  .map((rest) => `IDEMPOTENCY_${rest}`);
const others = fc.constantFrom("NODE_ENV", "AWS_LAMBDA_FUNCTION_NAME");
const environment: fc.Arbitrary<Env> = fc
  .tuple(
    fc.oneof(redisUrl, redlockUrl, dynamodbUrl, anyText),
    fc.dictionary(fc.oneof({ weight: 6, arbitrary: known }, unknown, others), anyText, {
      maxKeys: 4,
    }),
  )
  .map(([store, rest]) => Object.assign(rest, { IDEMPOTENCY_STORE: store }));

function expectOneRefusal(error: unknown): void {
  if (!(error instanceof OptionsError)) throw error;
  expect(error.code).toBe("OPTIONS_INVALID");
  expect(error.message).not.toContain(SECRET);
  for (const mistake of error.mistakes) expect(mistake).toMatch(/^IDEMPOTENCY_/);
}

test("the middleware's options are read, or all mistakes are told, by variables' names and without values", () => {
  let refused = 0;
  fc.assert(
    fc.property(environment, (env) => {
      try {
        optionsFromEnv(env);
      } catch (error) {
        expectOneRefusal(error);
        refused += 1;
      }
    }),
    { numRuns: 3_000 },
  );
  expect(refused).toBeGreaterThan(1_000);
  expect(refused).toBeLessThan(3_000);
});

const UNREACHABLE: Env = { IDEMPOTENCY_STORE: `redis://:${SECRET}@127.0.0.1:1` };

test("a store is opened, also where no server is, or refused as the options are", async () => {
  const warned: unknown[] = [];
  vi.spyOn(process, "emitWarning").mockImplementation((warning) => void warned.push(warning));
  // At once: each store waits two seconds for its connections, and none can be made.
  const many = fc.array(environment.filter(isNobodys), { minLength: 200, maxLength: 200 });
  await fc.assert(
    fc.asyncProperty(many, async (environments) => {
      const opening = [...environments, UNREACHABLE].map((env) => storeFromEnv(env));
      const opened = await Promise.allSettled(opening);
      for (const one of opened) {
        if (one.status === "rejected") expectOneRefusal(one.reason);
        else await one.value.close?.();
      }
      expect(opened.at(-1)?.status).toBe("fulfilled");
    }),
    { numRuns: 1, endOnFailure: true },
  );
  expect(warned.join()).toContain("127.0.0.1:1");
  expect(warned.join()).not.toContain(SECRET);
});

/** Whatever is refused, and of the rest what leads to a port on this machine that nobody listens at. */
function isNobodys(env: Env): boolean {
  try {
    optionsFromEnv(env);
  } catch {
    return true;
  }
  return /^memory:|^redis:\/\/[^@]*@(127\.0\.0\.1|\[::1\]):1(\/1?)?$/.test(
    env["IDEMPOTENCY_STORE"] ?? "",
  );
}
