/** The URL in `IDEMPOTENCY_STORE`: which store, and where. What is wrong with it is said without repeating any of it. */
import { OptionsError } from "../../src/errors.js";
import { targetName } from "../redis/name.js";
import { parseTarget } from "../redis/url.js";
import { quorumMistakes } from "../redlock/nodes.js";

/** `names`: what is connected to, without credentials. */
export type StoreTarget =
  | { readonly kind: "memory"; readonly names: readonly string[] }
  | {
      readonly kind: "redis" | "redlock";
      readonly urls: readonly string[];
      readonly names: readonly string[];
    }
  | {
      readonly kind: "dynamodb";
      readonly table: DynamodbTable;
      readonly names: readonly string[];
    };

/** Of `dynamodbStore`'s options those that tell which table, and how it was made. */
export interface DynamodbTable {
  readonly tableName: string;
  readonly region?: string;
  readonly endpoint?: string;
  readonly keyAttribute?: string;
  readonly ttlAttribute?: string;
  readonly expiry?: "ttl" | "sweep";
}

export type ParsedStore =
  | { readonly ok: true; readonly target: StoreTarget }
  | { readonly ok: false; readonly mistakes: readonly string[] };

export const CHOICES =
  "memory:, redis://host, rediss://host, redis+sentinel://host,host/master, redis+cluster://host,host, " +
  "redlock:redis://a,redis://b,redis://c or dynamodb://table";

/** A comma before a scheme ends a region's URL; any other is within one. Hosts and passwords hold no bare `/`. */
const NEXT_REGION = /\s*,\s*(?=[a-z+]+:\/\/)/i;

const DYNAMODB = /^dynamodb:\/\/(?<table>[^/?#]*)\/?(?:\?(?<query>[^#]*))?$/i;
/** As DynamoDB names tables. */
const TABLE = /^[\w.-]{3,255}$/;
const NO_TABLE =
  "dynamodb:// must name a table, whose name has 3 to 255 letters, digits, hyphens, dots or underscores: dynamodb://payments";
const ATTRIBUTE = "the name of an attribute";

/** What may stand after the `?`. */
const PARAMETERS: Readonly<
  Record<string, readonly [what: string, accepts: (value: string) => boolean]>
> = {
  region: [
    "a region of AWS, such as eu-central-1",
    (value) => /^[a-z]{2}(-[a-z]+)+-\d{1,2}$/.test(value),
  ],
  endpoint: ["an http or https URL without user and password", isPlainWebUrl],
  keyAttribute: [ATTRIBUTE, (value) => value !== ""],
  ttlAttribute: [ATTRIBUTE, (value) => value !== ""],
  expiry: ["ttl or sweep", (value) => value === "ttl" || value === "sweep"],
};

export function parseStore(url: string): ParsedStore {
  const [, scheme = ""] = /^([a-z+]+):/i.exec(url) ?? [];
  switch (scheme.toLowerCase()) {
    case "memory":
      return parseMemory(url);
    case "redlock":
      return parseRedlock(url);
    case "dynamodb":
      return parseDynamodb(url);
    default:
      return /^rediss?(\+|$)/i.test(scheme) ? parseRedis(url) : wrong(`must be ${CHOICES}`);
  }
}

function parseMemory(url: string): ParsedStore {
  if (url.length > "memory:".length) return wrong("memory: takes nothing after the colon");
  return { ok: true, target: { kind: "memory", names: [] } };
}

function parseRedis(url: string): ParsedStore {
  const { name, mistakes } = endpoint(url);
  if (mistakes.length > 0) return wrong(...mistakes);
  return { ok: true, target: { kind: "redis", urls: [url], names: [name] } };
}

function parseRedlock(url: string): ParsedStore {
  const urls = url.slice("redlock:".length).trim().split(NEXT_REGION);
  const regions = urls.map(endpoint);
  const mistakes = regions.flatMap(({ mistakes: ofRegion }, at) =>
    ofRegion.map((mistake) => `region ${at + 1}: ${mistake}`),
  );
  const names = regions.map(({ name }) => name);
  // Names of broken regions are unknown, and would be taken for one node.
  mistakes.push(...quorumMistakes(mistakes.length > 0 ? [...names.keys()].map(String) : names));
  return mistakes.length > 0
    ? wrong(...mistakes)
    : { ok: true, target: { kind: "redlock", urls, names } };
}

function endpoint(url: string): { name: string; mistakes: readonly string[] } {
  try {
    return { name: targetName(parseTarget(url)), mistakes: [] };
  } catch (error) {
    if (error instanceof OptionsError) return { name: "", mistakes: error.mistakes };
    throw error;
  }
}

function parseDynamodb(url: string): ParsedStore {
  const parts = DYNAMODB.exec(url)?.groups;
  const tableName = parts?.["table"] ?? "";
  const mistakes: string[] = [];
  if (!TABLE.test(tableName)) mistakes.push(NO_TABLE);
  const given = [...new URLSearchParams(parts?.["query"])];
  for (const [name, value] of given) {
    const [what, accepts] = (Object.hasOwn(PARAMETERS, name) && PARAMETERS[name]) || [];
    if (what === undefined) {
      mistakes.push(`dynamodb:// has only the parameters ${Object.keys(PARAMETERS).join(", ")}`);
    } else if (!accepts?.(value)) {
      mistakes.push(`${name} must be ${what}`);
    }
  }
  if (mistakes.length > 0) return wrong(...new Set(mistakes));
  const table: DynamodbTable = { tableName, ...Object.fromEntries(given) };
  const { endpoint: at } = table;
  const names = [at === undefined ? tableName : `${tableName} at ${new URL(at).origin}`];
  return { ok: true, target: { kind: "dynamodb", table, names } };
}

function isPlainWebUrl(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { protocol, username, password } = new URL(text);
  return /^https?:$/.test(protocol) && username === "" && password === "";
}

function wrong(...mistakes: readonly string[]): ParsedStore {
  return { ok: false, mistakes };
}
