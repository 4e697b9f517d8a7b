/** The options of the DynamoDB store, and of its table. */
import {
  custom,
  durationMs,
  integer,
  oneOf,
  parseOptions,
  type Given,
  type OptionRule,
  type OptionRules,
} from "../../src/options.js";
import type { DynamodbClient } from "./client.js";
import { ATTRIBUTES } from "./item.js";

export interface TableSettings {
  /** The table, which `createTable` or `infra/table.yml` makes. */
  readonly tableName: string;
  /**
   * A `DynamoDBClient` or `DynamoDBDocumentClient`, which stays yours to close. Default: one of the store's own, with
   * limits, and with the environment's credentials.
   */
  readonly client: DynamodbClient | undefined;
  /** For a client of the store's own. Default: the environment's. */
  readonly region: string | undefined;
  /** For a client of the store's own, where it is not the region's: DynamoDB Local, a VPC endpoint. Default: the region's. */
  readonly endpoint: string | undefined;
  /** The table's partition key, a string. Default: `"id"`. */
  readonly keyAttribute: string;
  /** The table's TTL attribute. Default: `"expiresAt"`. */
  readonly ttlAttribute: string;
  /**
   * What deletes items that are over: DynamoDB's TTL, or with `"sweep"` your calls of `sweep()`, for global tables with
   * multi-Region strong consistency, which have neither TTL nor transactions. Default: `"ttl"`.
   */
  readonly expiry: "ttl" | "sweep";
}

export interface DynamodbSettings extends TableSettings {
  /** What every key begins with; no other program may write to such keys. Default: `""`. */
  readonly prefix: string;
  /**
   * How much later than it says a lease or record counts as over, in milliseconds. The store goes by the dates of
   * DynamoDB's replies, not by its process's clock; two processes read them at most that far apart. Default: `2_000`.
   */
  readonly clockSkewMs: number;
  /** Limit of one verb, with all its requests and retries, in milliseconds. Default: `1_500`. */
  readonly timeoutMs: number;
  /** Limit of one attempt at a request, in milliseconds; then it is repeated. Default: `500`. */
  readonly requestTimeoutMs: number;
  /** The largest record, as compressed, that stays in the item of its key, in bytes. Default: `4_096`. */
  readonly maxInlineBytes: number;
  /** The largest record that is kept, in bytes before compression. A larger one leaves a tombstone. Default: `8_388_608`, 8 MiB. */
  readonly maxRecordBytes: number;
}

export type DynamodbOptions = Given<DynamodbSettings> & { readonly tableName: string };

export type TableOptions = Given<TableSettings> & { readonly tableName: string };

/** Below the protocol's default of `storeTimeoutMs`, so that the reason arrives before the time-out does. */
const TIMEOUT_MS = 1_500;

/** DynamoDB answers within tens of milliseconds; this leaves room for a new TLS connection, and for a third attempt. */
const REQUEST_TIMEOUT_MS = 500;

/**
 * Each of two processes may be off by half the precision of the `Date` header, half a second, and by half the longest
 * round trip, a quarter; the first claim of one, until it is renewed, by half a second more.
 */
const CLOCK_SKEW_MS = 2_000;

/**
 * What stands in the item is billed on every duplicate, a write unit for each KiB. In a chunk it costs one write unit and
 * one round trip more when it is stored, but on a duplicate only read units, of which five cost one write unit and each
 * takes four KiB. At 4 KiB that begins to pay when one request in three is repeated, which is far from usual; above it, a
 * client that repeats one request all the time would soon use up what one key can take (1,000 write units a second).
 */
const MAX_INLINE_BYTES = 4_096;

/** With the rest of the item it must stay below 400 KB. */
const MOST_INLINE_BYTES = 350 * 1024;

/** Several times the default of the middleware's `maxResponseBytes`; it is read at once, in one request. */
const MAX_RECORD_BYTES = 8 * 2 ** 20;
const MOST_RECORD_BYTES = 64 * 2 ** 20;

const TABLE_RULES: OptionRules<TableSettings> = {
  tableName: name(""),
  client: custom<DynamodbClient | undefined>(
    undefined,
    "a DynamoDBClient or DynamoDBDocumentClient",
    (value) => typeof (value as Partial<DynamodbClient> | null)?.send === "function",
  ),
  region: name<string | undefined>(undefined),
  endpoint: custom<string | undefined>(undefined, "an http or https URL", isWebUrl),
  keyAttribute: name("id"),
  ttlAttribute: name("expiresAt"),
  expiry: oneOf("ttl", ["ttl", "sweep"]),
};

const STORE_RULES: OptionRules<DynamodbSettings> = {
  ...TABLE_RULES,
  prefix: custom("", "a string", (value) => typeof value === "string"),
  clockSkewMs: durationMs(CLOCK_SKEW_MS, 0),
  timeoutMs: durationMs(TIMEOUT_MS),
  requestTimeoutMs: durationMs(REQUEST_TIMEOUT_MS),
  maxInlineBytes: integer(MAX_INLINE_BYTES, 0, MOST_INLINE_BYTES),
  maxRecordBytes: integer(MAX_RECORD_BYTES, 1_024, MOST_RECORD_BYTES),
};

/** @throws {OptionsError} for options that cannot work. */
export function parseStoreOptions(options: DynamodbOptions): DynamodbSettings {
  return parseOptions("dynamodbStore", options, STORE_RULES, mistakesIn);
}

/** @throws {OptionsError} for options that cannot work. */
export function parseTableOptions(options: TableOptions): TableSettings {
  return parseOptions("createTable", options, TABLE_RULES, mistakesIn);
}

function name<T>(fallback: T): OptionRule<T> {
  return custom(fallback, "a string that is not empty", isName);
}

function isName(value: unknown): value is string {
  return typeof value === "string" && value !== "";
}

function isWebUrl(value: unknown): boolean {
  return isName(value) && /^https?:\/\//i.test(value) && URL.canParse(value);
}

function* mistakesIn(settings: TableSettings): Iterable<string> {
  const { tableName, keyAttribute, ttlAttribute, client, region, endpoint } = settings;
  if (tableName === "") yield "tableName is missing";
  const taken: readonly string[] = ATTRIBUTES;
  for (const [option, attribute] of Object.entries({ keyAttribute, ttlAttribute })) {
    if (taken.includes(attribute)) {
      yield `${option} must not be '${attribute}', which is an attribute of the store's own`;
    }
  }
  if (keyAttribute === ttlAttribute) yield "keyAttribute and ttlAttribute must differ";
  if (client !== undefined && (region ?? endpoint) !== undefined) {
    yield "region and endpoint are for a client of the store's own: leave them out, or client";
  }
}
