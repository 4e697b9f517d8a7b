/** What a DynamoDB table promises about the records in it, read from the table itself. */
import {
  DescribeContinuousBackupsCommand,
  DescribeTableCommand,
  DescribeTimeToLiveCommand,
  type ContinuousBackupsDescription,
  type TableDescription,
  type TimeToLiveDescription,
} from "@aws-sdk/client-dynamodb";
import { Calls } from "./calls.js";
import { storeError, type SdkError } from "./errors.js";
import { parseTableOptions, type TableOptions, type TableSettings } from "./options.js";
import { keyMistakes } from "./table.js";

export interface TableReport {
  /**
   * `power-safe`: DynamoDB answers a write when two of three zones have it. `failover-lossy`: another Region may not have
   * the last writes. `unknown`: the table may not be described, or is not AWS's.
   */
  readonly level: "power-safe" | "failover-lossy" | "unknown";
  /** How far DynamoDB's clock is ahead of this machine's, in milliseconds, give or take half a second. */
  readonly clockSkewMs: number | undefined;
  /** Under which the store cannot work, or breaks a promise. */
  readonly errors: readonly string[];
  /** What else to set. */
  readonly warnings: readonly string[];
}

interface Facts {
  readonly table: TableDescription | undefined;
  readonly ttl: TimeToLiveDescription | undefined;
  readonly backups: ContinuousBackupsDescription | undefined;
}

interface Finding {
  readonly applies: (facts: Facts, settings: TableSettings) => boolean;
  readonly isError?: true;
  readonly says: string;
}

const FINDINGS: readonly Finding[] = [
  {
    applies: ({ table }) => isReplicated(table) && table?.MultiRegionConsistency !== "STRONG",
    isError: true,
    says: "It is a global table with eventual consistency: two Regions can execute one request. Take one Region, or multi-Region strong consistency.",
  },
  {
    applies: ({ table }, { expiry }) => isReplicated(table) && expiry === "ttl",
    isError: true,
    says: "A global table with strong consistency has no TTL: set expiry to 'sweep'.",
  },
  {
    applies: ({ ttl }, { expiry }) => expiry === "ttl" && ttl !== undefined && !isOn(ttl),
    says: "TTL is off: what is over is never deleted, and is paid for. Turn it on, as `idempotency-kit dynamodb create-table` does.",
  },
  {
    applies: ({ ttl }, { ttlAttribute }) => isOn(ttl) && ttl?.AttributeName !== ttlAttribute,
    says: "TTL goes by another attribute than the store's: what is over is never deleted. Set ttlAttribute to that of the table.",
  },
  {
    applies: ({ table }) => (table?.ProvisionedThroughput?.WriteCapacityUnits ?? 0) > 0,
    says: "Its capacity is provisioned: a burst beyond it is throttled, and answered 503. On-demand billing (PAY_PER_REQUEST) is not.",
  },
  {
    applies: ({ backups }) =>
      backups !== undefined &&
      backups.PointInTimeRecoveryDescription?.PointInTimeRecoveryStatus !== "ENABLED",
    says: "Point-in-time recovery is off: records that are deleted by mistake cannot be brought back.",
  },
  {
    applies: ({ table }) => table === undefined,
    says: "DescribeTable was refused, so neither its key nor its replicas are known.",
  },
  {
    applies: ({ table, ttl }) => table !== undefined && ttl === undefined,
    says: "DescribeTimeToLive was refused, so whether what is over is deleted is not known.",
  },
];

/** Management requests are slower than those for items. */
const TIMEOUTS = { timeoutMs: 5_000, requestTimeoutMs: 2_000 };

/** Asks a table what it promises. Never throws for what it finds: a table that is missing or down is a finding. */
export async function examineTable(options: TableOptions): Promise<TableReport> {
  const settings = parseTableOptions(options);
  const calls = new Calls({ ...settings, ...TIMEOUTS });
  const { tableName: TableName } = settings;
  try {
    const table = await allowed(calls.send(DescribeTableCommand, { TableName }, calls.deadline()));
    const [ttl, backups] = await Promise.all([
      allowed(calls.send(DescribeTimeToLiveCommand, { TableName }, calls.deadline())),
      allowed(calls.send(DescribeContinuousBackupsCommand, { TableName }, calls.deadline())),
    ]);
    const facts = {
      table: table?.Table,
      ttl: ttl?.TimeToLiveDescription,
      backups: backups?.ContinuousBackupsDescription,
    };
    return judgeTable(facts, settings, Math.round(calls.clock.now() - Date.now()));
  } catch (error) {
    const { message } = storeError(error);
    return { level: "unknown", clockSkewMs: undefined, errors: [message], warnings: [] };
  } finally {
    calls.close();
  }
}

export function judgeTable(
  facts: Facts,
  settings: TableSettings,
  clockSkewMs: number | undefined,
): TableReport {
  const found = FINDINGS.filter(({ applies }) => applies(facts, settings));
  const keys = facts.table === undefined ? [] : keyMistakes(facts.table, settings);
  const saying = (isError: boolean): string[] =>
    found.filter((finding) => (finding.isError ?? false) === isError).map(({ says }) => says);
  const foreign = isForeign(settings.endpoint)
    ? ["The endpoint is not AWS's, so what it keeps is not known: DynamoDB Local keeps nothing."]
    : [];
  return {
    level: levelOf(facts, settings),
    clockSkewMs,
    errors: [...keys, ...saying(true)],
    warnings: [...saying(false), ...foreign],
  };
}

function levelOf({ table }: Facts, { endpoint }: TableSettings): TableReport["level"] {
  if (table === undefined || isForeign(endpoint)) return "unknown";
  const isSafe = !isReplicated(table) || table.MultiRegionConsistency === "STRONG";
  return isSafe ? "power-safe" : "failover-lossy";
}

/** `undefined` where the caller may not ask, or the server does not know the question; other failures are thrown. */
async function allowed<T>(asked: Promise<T>): Promise<T | undefined> {
  try {
    return await asked;
  } catch (error) {
    const { name } = error as SdkError;
    if (/^(AccessDenied|UnknownOperation)/.test(name ?? "")) return undefined;
    throw error;
  }
}

function isReplicated(table: TableDescription | undefined): boolean {
  return (table?.Replicas ?? []).length > 0;
}

function isOn(ttl: TimeToLiveDescription | undefined): boolean {
  return ttl?.TimeToLiveStatus === "ENABLED" || ttl?.TimeToLiveStatus === "ENABLING";
}

function isForeign(endpoint: string | undefined): boolean {
  if (endpoint === undefined || !URL.canParse(endpoint)) return false;
  return !/\.amazonaws\.com(\.cn)?$/.test(new URL(endpoint).hostname);
}
