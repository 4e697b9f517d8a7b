/** The service as `npm run package:lambda` packages it: what CloudFormation and Lambda would get. */
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { mistakesIn, type Template } from "../infra/template.js";
import { POLICIES, policyBreaks } from "./policies.js";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const SERVERLESS = `${ROOT}dist/infra/deploy/serverless.js`;
const BUNDLE = `${ROOT}dist/lambda/handler.mjs`;
const OUTPUT = `${ROOT}.serverless`;
const NO_NETWORK = new URL("no-network.mjs", import.meta.url).href;

// Installs the deployment tools where they are missing, and the specification is large.
const TIMEOUT_MS = 600_000;
vi.setConfig({ testTimeout: 60_000 });

const run = promisify(execFile);

/** What packaging leaves in `.serverless/`. */
interface Packaged {
  /** The template's text. */
  readonly text: string;
  /** In the archive. */
  readonly files: readonly string[];
  /** Of the deployment. */
  readonly provider: { readonly stage: string; readonly region: string };
}

let service: Packaged;
let template: Template;

beforeAll(async () => {
  for (const built of [SERVERLESS, BUNDLE]) {
    if (!existsSync(built)) throw new Error(`${built} is missing: run npm run build:lambda first.`);
  }
  await run(process.execPath, [SERVERLESS, "--version"], { timeout: TIMEOUT_MS });
  service = await packaged();
  template = JSON.parse(service.text) as Template;
}, TIMEOUT_MS);

afterAll(() => rm(OUTPUT, { recursive: true, force: true }));

/** As `npm run package:lambda` does it once everything is built. */
async function packaged(...args: readonly string[]): Promise<Packaged> {
  // What an earlier run left.
  await rm(OUTPUT, { recursive: true, force: true });
  const home = await mkdtemp(join(tmpdir(), "idempotency-kit-"));
  try {
    await run(process.execPath, [SERVERLESS, "package", ...args], {
      timeout: TIMEOUT_MS,
      // Nobody's credentials, and nobody to ask.
      env: { PATH: process.env["PATH"], HOME: home, NODE_OPTIONS: `--import=${NO_NETWORK}` },
    });
  } finally {
    await rm(home, { recursive: true });
  }
  const [text, state, archive] = await Promise.all([
    readFile(join(OUTPUT, "cloudformation-template-update-stack.json"), "utf8"),
    readFile(join(OUTPUT, "serverless-state.json"), "utf8"),
    readFile(join(OUTPUT, "idempotency-kit-payments.zip")),
  ]);
  const { provider } = (JSON.parse(state) as { service: Pick<Packaged, "provider"> }).service;
  return { text, files: namesIn(archive), provider };
}

describe("the package", () => {
  test("holds the bundle and nothing else, and each driver in a file of its own", () => {
    const { files } = service;
    expect(files).toContain("dist/lambda/handler.mjs");
    expect(files.filter((name) => !/^dist\/lambda\/[\w-]+\.mjs$/.test(name))).toEqual([]);
    expect(files).toEqual(expect.arrayContaining([expect.stringContaining("open-dynamodb-")]));
    expect(files).toEqual(expect.arrayContaining([expect.stringContaining("open-redis-")]));
  });
});

describe("packaging", () => {
  test("is what its script does, into the folder that the page names; so is deploying", async () => {
    const [page, manifest] = await Promise.all(
      ["docs/deploying.md", "package.json"].map((path) => readFile(ROOT + path, "utf8")),
    );
    const { scripts } = JSON.parse(manifest ?? "") as { scripts: Record<string, string> };
    for (const [script, command] of [
      ["package:lambda", "package"],
      ["deploy", "deploy"],
    ] as const) {
      expect(scripts[script]).toBe(
        `npm run build:lambda && node dist/infra/deploy/serverless.js ${command}`,
      );
    }
    const [, folder] =
      /the CloudFormation template and the archive to `([^`]+)`/.exec(page ?? "") ?? [];
    expect(join(ROOT, folder ?? "")).toBe(join(OUTPUT, "/"));
  });

  test("needs tools that the project's own installation is spared", async () => {
    const [own, tools] = await Promise.all(
      ["", "infra/deploy/"].map((at) => readFile(`${ROOT}${at}package-lock.json`, "utf8")),
    );
    const heavy = /"node_modules\/serverless(-offline)?"/;
    expect(tools).toMatch(heavy);
    expect(own).not.toMatch(heavy);
  });

  test("reached no network: it had been ended otherwise", async () => {
    const curious = ["--import", NO_NETWORK, "-e", "fetch('http://192.0.2.1')"];
    await expect(run(process.execPath, curious)).rejects.toMatchObject({
      code: 70,
      stderr: expect.stringContaining("192.0.2.1"),
    });
  });
});

describe("the template", () => {
  test("is right by AWS' specification: types, properties, references", async () => {
    expect(await mistakesIn(template)).toEqual([]);
  });

  test("has the two APIs, the queue's consumer and the table", () => {
    const types = Object.values(template.Resources ?? {}).map(({ Type }) => Type);
    expect(types).toEqual(
      expect.arrayContaining([
        "AWS::ApiGatewayV2::Route",
        "AWS::ApiGateway::Method",
        "AWS::Lambda::EventSourceMapping",
        "AWS::DynamoDB::Table",
      ]),
    );
  });

  test("breaks no policy", () => {
    expect(policyBreaks(template)).toEqual([]);
  });

  test("is of stage dev, and its functions have the time that the page says", () => {
    const functions = Object.values(template.Resources ?? {})
      .filter(({ Type }) => Type === "AWS::Lambda::Function")
      .map(({ Properties = {} }) => [Properties["FunctionName"], Properties["Timeout"]] as const);
    expect(Object.fromEntries(functions)).toEqual({
      "idempotency-kit-payments-dev-payments": 29,
      "idempotency-kit-payments-dev-orders": 60,
    });
  });

  test(
    "is for the stage and the region that the page says, or that the arguments say",
    async () => {
      const page = await readFile(`${ROOT}docs/deploying.md`, "utf8");
      const [, stage, region] =
        /without arguments, stage `([\w-]+)` in `([\w-]+)`/.exec(page) ?? [];
      expect(service.provider).toMatchObject({ stage, region });

      const [, args = ""] = /`npm run deploy -- (--stage [^`]+)`/.exec(page) ?? [];
      const { text, provider } = await packaged(...args.split(" "));
      expect(provider).toMatchObject({ stage: "prod", region: "eu-west-1" });
      expect(text).toContain('"idempotency-kit-payments-prod-payments"');
    },
    TIMEOUT_MS,
  );

  test(
    "another store is another URL in every function's environment",
    async () => {
      const url = "rediss://redis.example:6380";
      const { text } = await packaged(`--param=store=${url}`);
      const other = JSON.parse(text) as Template;
      const environments = (of: Template) =>
        Object.values(of.Resources ?? {})
          .filter(({ Type }) => Type === "AWS::Lambda::Function")
          .map(
            ({ Properties = {} }) => (Properties["Environment"] as { Variables: object }).Variables,
          );
      const changed = environments(structuredClone(template)).map((variables) =>
        Object.assign(variables, { IDEMPOTENCY_STORE: url }),
      );
      expect(environments(other)).toEqual(changed);
    },
    TIMEOUT_MS,
  );
});

describe("a planted fault is found:", () => {
  const LOG_GROUP = '{"Fn::GetAtt":["PaymentsLogGroup","Arn"]}';
  const faults: [policy: string, from: string, to: string][] = [
    ["records expire by TTL", '"expiresAt","Enabled":true', '"expiresAt","Enabled":false'],
    [
      "records outlive their stack",
      '"UpdateReplacePolicy":"Retain"',
      '"UpdateReplacePolicy":"Delete"',
    ],
    [
      "records are backed up",
      '"PointInTimeRecoveryEnabled":true',
      '"PointInTimeRecoveryEnabled":false',
    ],
    [
      "records are protected from deletion",
      '"DeletionProtectionEnabled":true',
      '"DeletionProtectionEnabled":false',
    ],
    ["no statement allows a wildcard of actions", "dynamodb:GetItem", "dynamodb:Get*"],
    ["no statement allows a wildcard of actions", "sqs:ReceiveMessage", "sqs:*"],
    ["no statement allows a wildcard of resources", LOG_GROUP, '"*"'],
    ["no statement allows a wildcard of resources", LOG_GROUP, '{"Fn::Sub":"arn:aws:logs:*"}'],
    ["every function has a role of its own", '["OrdersRole","Arn"]', '["PaymentsRole","Arn"]'],
    ["every function's log ends some day", '"RetentionInDays":30', '"LogGroupClass":"STANDARD"'],
    [
      "every function's log ends some day",
      '"LogGroupName":"/aws/lambda',
      '"LogGroupName":"/lambda',
    ],
    ["functions run on arm64", '["arm64"]', '["x86_64"]'],
    ["functions run on a supported Node", "nodejs22.x", "nodejs20.x"],
    ["consumers of queues report which records failed", '["ReportBatchItemFailures"]', "[]"],
    ["what fails again and again leaves its queue", '"RedrivePolicy"', '"Redrive"'],
    [
      "a queue waits six times as long as its consumer may take",
      '"VisibilityTimeout":360',
      '"VisibilityTimeout":60',
    ],
    ["there are no secrets in it", "dynamodb://", "redis://app:secret@redis.example/"],
    ["there are no secrets in it", '"NODE_ENV":"production"', '"DB_PASSWORD":"hunter2"'],
  ];

  test.each(faults)("%s (%s)", (policy, from, to) => {
    const compact = JSON.stringify(template);
    expect(compact).toContain(from);
    const broken = JSON.parse(compact.replaceAll(from, to)) as Template;
    expect(policyBreaks(broken)).toEqual([policy]);
  });

  test("of each policy", () => {
    expect(new Set(faults.map(([policy]) => policy))).toEqual(new Set(Object.keys(POLICIES)));
  });

  test("and a reference to nothing, by the specification", async () => {
    const broken = JSON.parse(
      service.text.replaceAll('"Ref": "IdempotencyAccess"', '"Ref": "Access"'),
    );
    expect(await mistakesIn(broken as Template)).toEqual(
      expect.arrayContaining([expect.stringContaining("nothing is named Access")]),
    );
  });
});

/** The names in a ZIP archive's directory, each after a header of 46 bytes. */
function namesIn(zip: Buffer): string[] {
  const names: string[] = [];
  for (
    let at = zip.indexOf("PK\u0001\u0002");
    at >= 0;
    at = zip.indexOf("PK\u0001\u0002", at + 46)
  ) {
    names.push(zip.toString("utf8", at + 46, at + 46 + zip.readUInt16LE(at + 28)));
  }
  return names;
}
