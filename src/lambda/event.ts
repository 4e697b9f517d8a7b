/** The events that carry HTTP requests, told apart and read alike, so that one request has one fingerprint in all of them. */
import { isUint8Array } from "node:util/types";
import { IdempotencyError } from "../errors.js";

type Dict<T> = Readonly<Record<string, T | undefined>>;

/** What all events of API Gateway (REST, HTTP API), function URLs and ALB have in common. */
export interface HttpEvent {
  readonly requestContext: object;
  readonly headers?: Dict<string> | null | undefined;
  readonly multiValueHeaders?: Dict<string[]> | null | undefined;
  readonly body?: string | null | undefined;
  readonly isBase64Encoded?: boolean | undefined;
}

/**
 * Who sent the event, and so which form its response takes:
 *
 * - `rest`: API Gateway REST, or an HTTP API with payload format 1.0;
 * - `http`: an HTTP API with payload format 2.0, or a function URL;
 * - `alb`, `alb-multi`: a load balancer, without and with multi-value headers.
 */
export type EventKind = "rest" | "http" | "alb" | "alb-multi";

export interface EventRequest {
  readonly kind: EventKind;
  readonly method: string;
  /** Path as sent, and the query with its names in order: `rest` events have lost the order between names. */
  readonly url: string;
}

interface RawEvent extends HttpEvent {
  readonly httpMethod?: unknown;
  readonly path?: unknown;
  readonly queryStringParameters?: Dict<string> | null;
  readonly multiValueQueryStringParameters?: Dict<string[]> | null;
  readonly rawPath?: unknown;
  readonly rawQueryString?: unknown;
}

/** @throws {IdempotencyError} `EVENT_UNKNOWN` for what is no HTTP request. */
export function readEvent(event: HttpEvent): EventRequest {
  const { requestContext, httpMethod, path, rawPath, rawQueryString, ...raw } = (event ??
    {}) as RawEvent;
  const { http, elb } = (requestContext ?? {}) as { http?: { method?: unknown }; elb?: unknown };
  if (!hasFieldsOfText(raw)) throw unknownEvent();
  if (typeof http?.method === "string") {
    const query = pairsOf(text(rawQueryString));
    return { kind: "http", method: http.method, url: urlOf(rawPath, query) };
  }
  if (typeof httpMethod !== "string" || requestContext === undefined) throw unknownEvent();
  const listed = Object.entries(raw.multiValueQueryStringParameters ?? {});
  const single = Object.entries(raw.queryStringParameters ?? {}).map(
    ([name, value]) => [name, [value]] as const,
  );
  const query = (listed.length > 0 ? listed : single).flatMap(([name, values]) =>
    (values ?? []).map((value): Pair => [name, value ?? ""]),
  );
  // A balancer hands the query on as it was sent, REST decodes it.
  if (elb === undefined)
    return { kind: "rest", method: httpMethod, url: urlOf(path, query.map(encoded)) };
  const kind = raw.multiValueHeaders == null ? "alb" : "alb-multi";
  return { kind, method: httpMethod, url: urlOf(path, query.map(reencoded)) };
}

/** Senders write nothing else; whoever writes an event by hand, for a test, may take a number for a key. */
function hasFieldsOfText(event: Omit<RawEvent, "requestContext">): boolean {
  return (
    hasOnly(event.headers, isText) &&
    hasOnly(event.multiValueHeaders, isListOfTexts) &&
    hasOnly(event.queryStringParameters, isText) &&
    hasOnly(event.multiValueQueryStringParameters, isListOfTexts)
  );
}

function hasOnly(fields: unknown, accepts: (value: unknown) => boolean): boolean {
  if (fields === undefined || fields === null) return true;
  return (
    typeof fields === "object" &&
    Object.values(fields).every((value) => value === undefined || value === null || accepts(value))
  );
}

function isText(value: unknown): boolean {
  return typeof value === "string";
}

function isListOfTexts(value: unknown): boolean {
  return Array.isArray(value) && value.every(isText);
}

function unknownEvent(): IdempotencyError {
  return new IdempotencyError(
    "EVENT_UNKNOWN",
    "This event is no HTTP request of API Gateway (REST or HTTP API), a function URL or a load balancer. " +
      "For other events use idempotentFunction, for SQS idempotentBatch.",
  );
}

/** The lines of a header field, whatever the case of its name. HTTP APIs and function URLs have joined them by commas. */
export function eventFieldLines(event: HttpEvent, name: string): string[] {
  const lower = name.toLowerCase();
  const named = <T>(fields: Dict<T> | null | undefined): T[] =>
    Object.entries(fields ?? {}).flatMap(([field, value]) =>
      field.toLowerCase() === lower && value != null ? [value] : [],
    );
  const lines = named(event.multiValueHeaders).flat();
  // REST events have both, and `headers` then repeats the last line: another value there is another line.
  return [...lines, ...named(event.headers).filter((line) => !lines.includes(line))];
}

export interface EventBody {
  readonly body: Uint8Array;
  readonly contentType: string | undefined;
}

/** @throws {IdempotencyError} `BODY_UNREADABLE` where a parser came before and left only a part. */
export function eventBody(event: HttpEvent): EventBody {
  const { body, isBase64Encoded } = event as { body?: unknown; isBase64Encoded?: unknown };
  const [contentType] = eventFieldLines(event, "content-type");
  if (body === undefined || body === null) return { body: new Uint8Array(0), contentType };
  if (typeof body === "string") {
    return { body: Buffer.from(body, isBase64Encoded === true ? "base64" : "utf8"), contentType };
  }
  if (isUint8Array(body)) return { body, contentType };
  if (/^multipart\//i.test(contentType ?? "")) {
    throw new IdempotencyError(
      "BODY_UNREADABLE",
      "The request body was parsed before its key was read, and what is left does not tell all of it. " +
        "Put the body parser after the idempotency middleware, or inside the handler.",
    );
  }
  return { body: Buffer.from(JSON.stringify(body)), contentType: "application/json" };
}

type Pair = readonly [name: string, value: string];

function text(value: unknown): string {
  return typeof value === "string" ? value : "";
}

function pairsOf(rawQuery: string): Pair[] {
  return rawQuery
    .split("&")
    .filter((pair) => pair !== "")
    .map((pair) => {
      const at = pair.indexOf("=");
      return reencoded(at < 0 ? [pair, ""] : [pair.slice(0, at), pair.slice(at + 1)]);
    });
}

/** By name; the values of one name keep their order. */
function urlOf(path: unknown, query: readonly Pair[]): string {
  const sorted = query.toSorted(([a], [b]) => (a < b ? -1 : Number(a > b)));
  const pairs = sorted.map(([name, value]) => `${name}=${value}`);
  return pairs.length === 0 ? text(path) : `${text(path)}?${pairs.join("&")}`;
}

function encoded(pair: Pair): Pair {
  return [encodedText(pair[0]), encodedText(pair[1])];
}

function encodedText(value: string): string {
  try {
    return encodeURIComponent(value);
  } catch {
    // A surrogate without its partner, which JSON can express; the mark keeps it apart from all that can be encoded.
    return `%!${encodeURIComponent(JSON.stringify(value))}`;
  }
}

/** One spelling for each text: `%7e`, `%7E` and `~` are one. */
function reencoded(pair: Pair): Pair {
  return [reencodedText(pair[0]), reencodedText(pair[1])];
}

function reencodedText(raw: string): string {
  try {
    return encodeURIComponent(decodeURIComponent(raw.replaceAll("+", " ")));
  } catch {
    // What is no encoded text counts as it is.
    return raw;
  }
}
