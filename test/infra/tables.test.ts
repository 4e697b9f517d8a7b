/** The templates of the DynamoDB store's tables: right by AWS' specification, and by what the store needs. */
import { readFileSync } from "node:fs";
import { describe, expect, test, vi } from "vitest";
import { mistakesIn, readTemplate, type Resource, type Template } from "./template.js";

// The specification is large.
vi.setConfig({ testTimeout: 60_000 });

const read = (name: string): string =>
  readFileSync(new URL(`../../infra/${name}`, import.meta.url), "utf8");

const TABLE = read("table.yml");
const GLOBAL_TABLE = read("global-table.yml");

interface Table extends Resource {
  readonly Properties: Readonly<Record<string, unknown>>;
}

function tableOf(template: Template): Table {
  return template.Resources?.["IdempotencyTable"] as Table;
}

/** What must hold for every table that keeps records, and what must not be allowed. */
function policyBreaks(template: Template): string[] {
  const { DeletionPolicy, UpdateReplacePolicy, Properties, Type } = tableOf(template);
  const backedUp = { PointInTimeRecoverySpecification: { PointInTimeRecoveryEnabled: true } };
  const isGlobal = Type === "AWS::DynamoDB::GlobalTable";
  const { Replicas = [Properties], TimeToLiveSpecification: ttl } = Properties;
  const expires = JSON.stringify(ttl) === '{"AttributeName":"expiresAt","Enabled":true}';
  const holds: Record<string, boolean> = {
    "the table is not retained": DeletionPolicy === "Retain" && UpdateReplacePolicy === "Retain",
    "nothing expires": isGlobal || expires,
    "a strongly consistent global table has no TTL": !isGlobal || ttl === undefined,
    "a global table is not strongly consistent":
      !isGlobal || Properties["MultiRegionConsistency"] === "STRONG",
    "there are not three Regions": !isGlobal || (Replicas as unknown[]).length === 3,
    "it is not backed up": (Replicas as Readonly<Record<string, unknown>>[]).every(
      ({ PointInTimeRecoverySpecification }) =>
        JSON.stringify({ PointInTimeRecoverySpecification }) === JSON.stringify(backedUp),
    ),
    "it is not encrypted":
      (Properties["SSESpecification"] as { SSEEnabled?: boolean })?.SSEEnabled === true,
    "a policy has a wildcard": !/"(dynamodb:)?\*"|\/\*"/.test(JSON.stringify(template.Resources)),
  };
  return Object.keys(holds).filter((what) => holds[what] === false);
}

describe.each([
  ["table.yml", TABLE],
  ["global-table.yml", GLOBAL_TABLE],
])("%s", (_, text) => {
  test("is right by the specification", async () => {
    expect(await mistakesIn(readTemplate(text))).toEqual([]);
  });

  test("is as the store needs it", () => {
    const template = readTemplate(text);
    expect(policyBreaks(template)).toEqual([]);
    expect(tableOf(template).Properties).toMatchObject({
      BillingMode: "PAY_PER_REQUEST",
      KeySchema: [{ AttributeName: "id", KeyType: "HASH" }],
      AttributeDefinitions: [{ AttributeName: "id", AttributeType: "S" }],
    });
  });
});

describe("a planted fault is found:", () => {
  test.each([
    [
      "an unknown type",
      TABLE,
      "AWS::DynamoDB::Table",
      "AWS::DynamoDB::Tables",
      /unknown type AWS::DynamoDB::Tables/,
    ],
    [
      "an unknown property",
      TABLE,
      "BillingMode:",
      "BillingModes:",
      /unknown property BillingModes/,
    ],
    ["one deeper down", TABLE, "AttributeType: S", "Type: S", /unknown property Type$/m],
    ["a missing one", GLOBAL_TABLE, "Replicas:", "Tags:", /Replicas is missing/],
    [
      "a wrong kind",
      TABLE,
      "PointInTimeRecoveryEnabled: true",
      "PointInTimeRecoveryEnabled: often",
      /is no boolean/,
    ],
    ["a wrong value", GLOBAL_TABLE, "STRONG", "WEAK", /'WEAK' is none of/],
    ["a wrong Ref", TABLE, "!Ref IdempotencyTable", "!Ref Table", /nothing is named Table/],
    [
      "a wrong GetAtt",
      TABLE,
      "IdempotencyTable.Arn",
      "IdempotencyTable.Url",
      /has no attribute Url/,
    ],
    [
      "a wrong Sub",
      GLOBAL_TABLE,
      "${ThirdRegion}",
      "${FourthRegion}",
      /nothing is named FourthRegion/,
    ],
    [
      "a misplaced attribute",
      TABLE,
      "UpdateReplacePolicy",
      "UpdatePolicies",
      /unknown UpdatePolicies/,
    ],
  ])("%s", async (_, text, from, to, says) => {
    expect(text).toContain(from);
    const mistakes = await mistakesIn(readTemplate(text.replaceAll(from, to)));
    expect(mistakes.join("\n")).toMatch(says);
  });

  test.each([
    ["the table is not retained", TABLE, "DeletionPolicy: Retain", "DeletionPolicy: Delete"],
    ["nothing expires", TABLE, "Enabled: true\n      PointIn", "Enabled: false\n      PointIn"],
    ["it is not backed up", GLOBAL_TABLE, "RecoveryEnabled: true", "RecoveryEnabled: false"],
    ["it is not encrypted", TABLE, "SSEEnabled: true", "SSEEnabled: false"],
    ["a policy has a wildcard", TABLE, "- dynamodb:GetItem", '- "dynamodb:*"'],
    ["a policy has a wildcard", TABLE, "Resource: !GetAtt IdempotencyTable.Arn", 'Resource: "*"'],
    ["a global table is not strongly consistent", GLOBAL_TABLE, "STRONG", "EVENTUAL"],
  ])("%s", (what, text, from, to) => {
    expect(text).toContain(from);
    expect(policyBreaks(readTemplate(text.replaceAll(from, to)))).toContain(what);
  });
});

test("table.yml allows what the store sends to serve requests, and no more", () => {
  const sent = ["register", "chunks"].flatMap((name) =>
    [...read(`../stores/dynamodb/${name}.ts`).matchAll(/\b([A-Z]\w+)Command\b/g)].map(
      ([, operation]) => `dynamodb:${operation}`,
    ),
  );
  const allowed = [...TABLE.matchAll(/- (dynamodb:\w+)/g)].map(([, action]) => action);

  expect(allowed).toEqual([...new Set(sent)].toSorted());
});
