/** What must hold for every stack that keeps records and runs handlers, in the template that CloudFormation gets. */
import type { Resource, Template } from "../infra/template.js";

type Tree = Readonly<Record<string, unknown>>;

interface Statement {
  readonly Effect: string;
  readonly Action: string | readonly string[];
  readonly Resource?: unknown;
}

/** Node 22 and later; 20 and before are not to be had any more. */
const RUNTIME = /^nodejs(2[2-9]|[3-9]\d)\.x$/;

/** A password in a URL, or what AWS and others give their keys for names. */
const SECRET = /:\/\/[^/"\s]*:[^/"\s]*@|AKIA[A-Z\d]{16}|(SECRET|PASSWORD|TOKEN|PRIVATE_?KEY)"\s*:/i;

/** The policies that it breaks, by name. */
export function policyBreaks(template: Template): string[] {
  return Object.keys(POLICIES).filter((name) => POLICIES[name]?.(template) === false);
}

export const POLICIES: Readonly<Record<string, (template: Template) => boolean>> = {
  "records expire by TTL": (template) =>
    every(template, "AWS::DynamoDB::Table", ({ TimeToLiveSpecification: ttl }) =>
      same(ttl, { AttributeName: "expiresAt", Enabled: true }),
    ),
  "records outlive their stack": (template) =>
    every(
      template,
      "AWS::DynamoDB::Table",
      (_, { DeletionPolicy, UpdateReplacePolicy }) =>
        DeletionPolicy === "Retain" && UpdateReplacePolicy === "Retain",
    ),
  "records are backed up": (template) =>
    every(template, "AWS::DynamoDB::Table", ({ PointInTimeRecoverySpecification: backups }) =>
      same(backups, { PointInTimeRecoveryEnabled: true }),
    ),
  "records are protected from deletion": (template) =>
    every(
      template,
      "AWS::DynamoDB::Table",
      ({ DeletionProtectionEnabled }) => DeletionProtectionEnabled === true,
    ),
  "no statement allows a wildcard of actions": (template) =>
    allowed(template).every(({ Action }) => !JSON.stringify(Action).includes("*")),
  "no statement allows a wildcard of resources": (template) =>
    allowed(template).every(({ Resource }) => !JSON.stringify(Resource ?? "").includes("*")),
  "every function has a role of its own": (template) => {
    const roles = of(template, "AWS::Lambda::Function").map(({ Properties = {} }) =>
      JSON.stringify(Properties["Role"]),
    );
    return roles.length > 0 && new Set(roles).size === roles.length;
  },
  "every function's log ends some day": (template) => {
    const groups = of(template, "AWS::Logs::LogGroup").map(({ Properties = {} }) => Properties);
    return every(template, "AWS::Lambda::Function", ({ FunctionName }) =>
      groups.some(
        ({ LogGroupName, RetentionInDays }) =>
          LogGroupName === `/aws/lambda/${String(FunctionName)}` && Number(RetentionInDays) > 0,
      ),
    );
  },
  "functions run on arm64": (template) =>
    every(template, "AWS::Lambda::Function", ({ Architectures }) => same(Architectures, ["arm64"])),
  "functions run on a supported Node": (template) =>
    every(template, "AWS::Lambda::Function", ({ Runtime }) => RUNTIME.test(String(Runtime))),
  "consumers of queues report which records failed": (template) =>
    every(template, "AWS::Lambda::EventSourceMapping", ({ FunctionResponseTypes }) =>
      same(FunctionResponseTypes, ["ReportBatchItemFailures"]),
    ),
  "what fails again and again leaves its queue": (template) =>
    of(template, "AWS::Lambda::EventSourceMapping").length <=
    of(template, "AWS::SQS::Queue").filter(({ Properties }) => Properties?.["RedrivePolicy"])
      .length,
  "a queue waits six times as long as its consumer may take": (template) => {
    const propertiesOf = (name: string) => template.Resources?.[name]?.Properties ?? {};
    return every(template, "AWS::Lambda::EventSourceMapping", (mapping) => {
      const [queue, consumer] = [
        target(mapping["EventSourceArn"]),
        target(mapping["FunctionName"]),
      ];
      return (
        Number(propertiesOf(queue)["VisibilityTimeout"]) >=
        6 * Number(propertiesOf(consumer)["Timeout"])
      );
    });
  },
  "there are no secrets in it": (template) => !SECRET.test(JSON.stringify(template)),
};

function of({ Resources = {} }: Template, type: string): Resource[] {
  return Object.values(Resources).filter(({ Type }) => Type === type);
}

/** Whether there are any, and all are as they should be. */
function every(
  template: Template,
  type: string,
  check: (properties: Tree, resource: Resource) => boolean,
): boolean {
  const found = of(template, type);
  return found.length > 0 && found.every((one) => check(one.Properties ?? {}, one));
}

/** Of all identities. Statements that deny are as wide as they like. */
function allowed(template: Template): Statement[] {
  const documents = [
    ...of(template, "AWS::IAM::ManagedPolicy").map(({ Properties }) => Properties),
    ...of(template, "AWS::IAM::Role").flatMap(({ Properties }) => Properties?.["Policies"] ?? []),
  ] as { readonly PolicyDocument: { readonly Statement: readonly Statement[] } }[];
  return documents
    .flatMap(({ PolicyDocument }) => PolicyDocument.Statement)
    .filter(({ Effect }) => Effect === "Allow");
}

function target(reference: unknown): string {
  return String((reference as { "Fn::GetAtt"?: readonly string[] })["Fn::GetAtt"]?.[0]);
}

function same(one: unknown, other: unknown): boolean {
  return JSON.stringify(one) === JSON.stringify(other);
}
