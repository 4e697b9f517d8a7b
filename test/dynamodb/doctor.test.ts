/** What the doctor concludes from what AWS tells of a table, and DynamoDB Local does not. */
import { describe, expect, test } from "vitest";
import { judgeTable } from "../../stores/dynamodb/doctor.js";
import { parseTableOptions, type TableOptions } from "../../stores/dynamodb/options.js";

type Facts = Parameters<typeof judgeTable>[0];

const FIT: Facts = {
  table: {
    KeySchema: [{ AttributeName: "id", KeyType: "HASH" }],
    AttributeDefinitions: [{ AttributeName: "id", AttributeType: "S" }],
    ProvisionedThroughput: { WriteCapacityUnits: 0 },
  },
  ttl: { TimeToLiveStatus: "ENABLED", AttributeName: "expiresAt" },
  backups: {
    ContinuousBackupsStatus: "ENABLED",
    PointInTimeRecoveryDescription: { PointInTimeRecoveryStatus: "ENABLED" },
  },
};

function judged(facts: Partial<Facts>, options: Partial<TableOptions> = {}) {
  const settings = parseTableOptions({ tableName: "payments", ...options });
  return judgeTable({ ...FIT, ...facts }, settings, 0);
}

const replicated = { ...FIT.table, Replicas: [{ RegionName: "eu-west-1" }] };

test("a fit table of AWS is power-safe, and nothing is to be said", () => {
  expect(judged({})).toEqual({ level: "power-safe", clockSkewMs: 0, errors: [], warnings: [] });
  const endpoint = "https://dynamodb.eu-central-1.amazonaws.com";
  expect(judged({}, { endpoint }).level).toBe("power-safe");
});

describe("found are", () => {
  test.each<[string, Partial<Facts>, RegExp]>([
    ["TTL that is off", { ttl: { TimeToLiveStatus: "DISABLED" } }, /^TTL is off/],
    [
      "TTL of another attribute",
      { ttl: { TimeToLiveStatus: "ENABLED", AttributeName: "ttl" } },
      /^TTL goes by another attribute/,
    ],
    [
      "provisioned capacity",
      { table: { ...FIT.table, ProvisionedThroughput: { WriteCapacityUnits: 5 } } },
      /^Its capacity is provisioned/,
    ],
    [
      "no point-in-time recovery",
      { backups: { ContinuousBackupsStatus: "ENABLED" } },
      /^Point-in-time recovery is off/,
    ],
    ["TTL that may not be described", { ttl: undefined }, /^DescribeTimeToLive was refused/],
  ])("%s", (_, facts, warning) => {
    expect(judged(facts)).toMatchObject({
      level: "power-safe",
      errors: [],
      warnings: [expect.stringMatching(warning)],
    });
  });

  test("a table that may not be described: its level is not known", () => {
    const { level, warnings } = judged({ table: undefined, ttl: undefined, backups: undefined });
    expect({ level, warnings }).toEqual({
      level: "unknown",
      warnings: [expect.stringMatching(/^DescribeTable was refused/)],
    });
  });

  test("another key", () => {
    const table = { ...FIT.table, KeySchema: [{ AttributeName: "pk", KeyType: "HASH" as const }] };
    expect(judged({ table }).errors).toEqual([expect.stringMatching(/^its key is pk/)]);
  });

  test("a global table with eventual consistency: two Regions can execute one request", () => {
    const { level, errors } = judged({ table: replicated });
    expect(level).toBe("failover-lossy");
    expect(errors).toContainEqual(expect.stringMatching(/eventual consistency/));
  });

  test("one with strong consistency, which has no TTL", () => {
    const table = { ...replicated, MultiRegionConsistency: "STRONG" as const };
    const facts = { table, ttl: { TimeToLiveStatus: "DISABLED" as const } };
    expect(judged(facts).errors).toEqual([expect.stringMatching(/has no TTL/)]);
    expect(judged(facts, { expiry: "sweep" })).toMatchObject({
      level: "power-safe",
      errors: [],
      warnings: [],
    });
  });
});
