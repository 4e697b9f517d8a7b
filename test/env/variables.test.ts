/** What the environment may say, and how it is told that it may not. */
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { OptionsError } from "../../src/errors.js";
import { optionsFromEnv, storeFromEnv } from "../../stores/from-env.js";
import { DRIVERS } from "../../stores/from-env/driver.js";
import { readEnvironment } from "../../stores/from-env/environment.js";
import { VARIABLES } from "../../stores/from-env/variables.js";

type Env = Readonly<Record<string, string>>;

const MEMORY = { IDEMPOTENCY_STORE: "memory:" };

function mistakesOf(env: Env): readonly string[] {
  try {
    readEnvironment(env);
  } catch (error) {
    if (error instanceof OptionsError) return error.mistakes;
    throw error;
  }
  return [];
}

describe("the options of the middleware", () => {
  test("are those that are set, by their names in capitals", () => {
    const env = {
      ...MEMORY,
      IDEMPOTENCY_TTL_MS: "60000",
      IDEMPOTENCY_LEASE_MS: " 9000 ",
      IDEMPOTENCY_STORE_TIMEOUT_MS: "1500",
      IDEMPOTENCY_MAX_HANDLING_MS: "30000",
      IDEMPOTENCY_ON_CONFLICT: "wait",
      IDEMPOTENCY_MAX_WAIT_MS: "2000",
      IDEMPOTENCY_ON_STORE_FAILURE: "execute",
      IDEMPOTENCY_REQUIRED: "true",
      IDEMPOTENCY_HEADER_NAME: "X-Request-Key",
    };
    expect(optionsFromEnv(env)).toEqual({
      ttlMs: 60_000,
      leaseMs: 9_000,
      storeTimeoutMs: 1_500,
      maxHandlingMs: 30_000,
      onConflict: "wait",
      maxWaitMs: 2_000,
      onStoreFailure: "execute",
      required: true,
      headerName: "X-Request-Key",
    });
  });

  test("leave out what is unset or empty, so that the code's own stand", () => {
    const env = { ...MEMORY, IDEMPOTENCY_TTL_MS: "", IDEMPOTENCY_REQUIRED: " " };
    expect({ required: true, ...optionsFromEnv(env) }).toEqual({ required: true });
  });

  test.each([
    ["1", true],
    ["TRUE", true],
    ["0", false],
    ["false", false],
  ])("a flag may be %s", (text, required) => {
    expect(optionsFromEnv({ ...MEMORY, IDEMPOTENCY_REQUIRED: text })).toEqual({ required });
  });
});

describe("mistakes", () => {
  test("are all told at once, whichever function is asked", async () => {
    const env = {
      IDEMPOTENCY_STORE: "postgres://host",
      IDEMPOTENCY_TTL_MS: "24h",
      IDEMPOTENCY_LEASE_MS: "1e3",
      IDEMPOTENCY_REQUIRED: "yes",
      IDEMPOTENCY_HEADER_NAME: "Idempotency Key",
      IDEMPOTENCY_ON_CONFLICT: "retry",
      IDEMPOTENCY_MIN_REPLICAS: "-1",
      IDEMPOTENCY_PREFIX: "a b",
      IDEMPOTENCY_TTL: "5",
    };
    const mistakes = [
      "IDEMPOTENCY_TTL is unknown; did you mean IDEMPOTENCY_TTL_MS?",
      "IDEMPOTENCY_PREFIX must be visible ASCII without spaces",
      "IDEMPOTENCY_MIN_REPLICAS must be an integer from 0 to 100",
      "IDEMPOTENCY_TTL_MS must be an integer from 1 to 315360000000",
      "IDEMPOTENCY_LEASE_MS must be an integer from 100 to 2147483647",
      "IDEMPOTENCY_ON_CONFLICT must be one of 'reject', 'wait'",
      "IDEMPOTENCY_REQUIRED must be true or false",
      "IDEMPOTENCY_HEADER_NAME must be a header field name",
      expect.stringMatching(/^IDEMPOTENCY_STORE: must be memory:, redis:.* or dynamodb:/),
    ];
    expect(mistakesOf(env)).toEqual(mistakes);
    expect(() => optionsFromEnv(env)).toThrow(OptionsError);
    await expect(storeFromEnv(env)).rejects.toMatchObject({ code: "OPTIONS_INVALID", mistakes });
  });

  test("between variables are told in variables", () => {
    expect(
      mistakesOf({
        ...MEMORY,
        IDEMPOTENCY_LEASE_MS: "9000",
        IDEMPOTENCY_TTL_MS: "3000",
        IDEMPOTENCY_STORE_TIMEOUT_MS: "4000",
      }),
    ).toEqual([
      "IDEMPOTENCY_LEASE_MS (9000) must not exceed IDEMPOTENCY_TTL_MS (3000)",
      expect.stringMatching(/^IDEMPOTENCY_STORE_TIMEOUT_MS \(4000\) must be at most a third of/),
    ]);
  });

  test("a store that is not set, or empty, is told what there is", () => {
    const [mistake] = mistakesOf({});
    expect(mistake).toMatch(/^IDEMPOTENCY_STORE is not set: it must be memory:, redis:/);
    expect(mistakesOf({ IDEMPOTENCY_STORE: "" })).toEqual([mistake]);
  });

  test("in names are told with the name that was meant", () => {
    const meant = (name: string) => mistakesOf({ ...MEMORY, [name]: "x" });
    expect(meant("IDEMPOTENCY_REQUIRE")[0]).toMatch(/did you mean IDEMPOTENCY_REQUIRED\?$/);
    expect(meant("IDEMPOTENCY_LEASEMS")[0]).toMatch(/did you mean IDEMPOTENCY_LEASE_MS\?$/);
    expect(meant("IDEMPOTENCY_NODE_TIMEOUT")[0]).toMatch(/IDEMPOTENCY_NODE_TIMEOUT_MS\?$/);
  });

  test("what Kubernetes sets for a service of that name is none", () => {
    expect(
      mistakesOf({
        ...MEMORY,
        IDEMPOTENCY_REDIS_SERVICE_HOST: "10.0.0.7",
        IDEMPOTENCY_REDIS_SERVICE_PORT_CLIENT: "6379",
        IDEMPOTENCY_REDIS_PORT: "tcp://10.0.0.7:6379",
        IDEMPOTENCY_REDIS_PORT_6379_TCP_ADDR: "10.0.0.7",
      }),
    ).toEqual([]);
  });

  test("repeat no value: any may hold a secret", () => {
    const secret = "hunter2";
    for (const name of VARIABLES) {
      for (const value of [
        secret,
        `redis://app:${secret}@a:b`,
        `dynamodb://${secret}@t?k=${secret}`,
      ]) {
        expect(mistakesOf({ ...MEMORY, [name]: value }).join()).not.toContain(secret);
      }
    }
  });

  test("repeat no value either where two that are wrong would contradict each other", () => {
    const env = { ...MEMORY, IDEMPOTENCY_LEASE_MS: "zzz", IDEMPOTENCY_TTL_MS: "hunter2" };
    expect(mistakesOf(env)).toEqual([
      "IDEMPOTENCY_TTL_MS must be an integer from 1 to 315360000000",
      "IDEMPOTENCY_LEASE_MS must be an integer from 100 to 2147483647",
    ]);
  });
});

describe("memory:", () => {
  test("is refused where several processes are to be expected, unless it is meant", () => {
    const production = { ...MEMORY, NODE_ENV: "production" };
    const lambda = { ...MEMORY, AWS_LAMBDA_FUNCTION_NAME: "pay" };
    expect(mistakesOf(production)).toEqual([expect.stringMatching(/NODE_ENV.*ALLOW_MEMORY=1/)]);
    expect(mistakesOf(lambda)).toEqual([expect.stringMatching(/Lambda.*ALLOW_MEMORY=1/)]);
    expect(mistakesOf({ ...lambda, IDEMPOTENCY_ALLOW_MEMORY: "1" })).toEqual([]);
    expect(mistakesOf({ ...MEMORY, NODE_ENV: "development" })).toEqual([]);
    expect(mistakesOf({ ...production, IDEMPOTENCY_STORE: "redis://a" })).toEqual([]);
  });

  test("opens without any driver, keeps responses, and ends with close", async () => {
    const store = await storeFromEnv(MEMORY);
    expect(await store.lock("key", "f", 1_000)).toMatchObject({ state: "acquired" });
    await store.close?.();
    await expect(store.get("key")).rejects.toMatchObject({ code: "STORE_UNAVAILABLE" });
  });
});

describe("the URL of the store", () => {
  test.each([
    ["redis://app:secret@EU.example:6380/2", "redis", ["eu.example:6380"]],
    ["rediss://a", "redis", ["a:6379"]],
    ["redis+sentinel://a,b:1/main", "redis", ["main of sentinels a:26379, b:1"]],
    ["redis+cluster://b,a", "redis", ["cluster of a:6379, b:6379"]],
    ["redlock:redis://a,rediss://:x%2Cy@b:1, redis://c", "redlock", ["a:6379", "b:1", "c:6379"]],
    [
      "redlock:redis+cluster://a,b,redis+cluster://c,d,redis+sentinel://e,f/m",
      "redlock",
      ["cluster of a:6379, b:6379", "cluster of c:6379, d:6379", "m of sentinels e:26379, f:26379"],
    ],
    ["dynamodb://Payments_1", "dynamodb", ["Payments_1"]],
    [
      "dynamodb://payments?region=eu-central-1&endpoint=http://localhost:8000",
      "dynamodb",
      ["payments at http://localhost:8000"],
    ],
  ])("%s", (url, kind, names) => {
    expect(readEnvironment({ IDEMPOTENCY_STORE: url }).target).toMatchObject({ kind, names });
  });

  test.each([
    ["redis", "must be memory:"],
    ["memory:x", "memory: takes nothing"],
    ["redis://a,b", "several hosts need"],
    ["redis+sentinel://a", "must name the master"],
    ["redlock:", "region 1: a URL must begin", "1 nodes: with fewer than 3"],
    ["redlock:redis://a,redis://b", "2 nodes: with fewer than 3"],
    ["redlock:redis://a,redis://b,redis://c,redis://d", "4 nodes: an even number can tie"],
    ["redlock:redis://a,redis://b,redis://A:6379", "a:6379 is there twice"],
    ["redlock:redis://a:x,redis://b,http://c", "region 1: host 1", "region 3: a URL must begin"],
    ["dynamodb://", "must name a table"],
    ["dynamodb://t", "has 3 to 255 letters, digits"],
    ["dynamodb://my table", "has 3 to 255 letters, digits"],
    ["dynamodb://payments?table=x", "has only the parameters region, endpoint, keyAttribute"],
    ["dynamodb://payments?region=Frankfurt", "region must be"],
    ["dynamodb://payments?expiry=never&keyAttribute=", "expiry must be", "keyAttribute must be"],
    ["dynamodb://payments?endpoint=http://u:p@a", "endpoint must be"],
  ])("%s is refused", (url, ...mistakes) => {
    expect(mistakesOf({ IDEMPOTENCY_STORE: url })).toEqual(
      mistakes.map((mistake) => expect.stringMatching(`^IDEMPOTENCY_STORE.*${mistake}`)),
    );
  });
});

test("variables that the chosen store has no use for are checked, and named", () => {
  const env = { IDEMPOTENCY_PREFIX: "pay:", IDEMPOTENCY_MIN_REPLICAS: "1" };
  const idle = (url: string) => readEnvironment({ ...env, IDEMPOTENCY_STORE: url }).idle;
  expect(idle("memory:")).toEqual(["IDEMPOTENCY_PREFIX", "IDEMPOTENCY_MIN_REPLICAS"]);
  expect(idle("redis://a")).toEqual([]);
  expect(idle("dynamodb://table")).toEqual(["IDEMPOTENCY_MIN_REPLICAS"]);
});

test("drivers to install are the package's optional peers, in versions that it takes", () => {
  const manifest = JSON.parse(
    readFileSync(new URL("../../package.json", import.meta.url), "utf8"),
  ) as { peerDependencies: Record<string, string> };
  for (const [name, version] of Object.entries(DRIVERS)) {
    expect(manifest.peerDependencies[name]?.split(/[\s^|]+/)).toContain(version);
  }
});
