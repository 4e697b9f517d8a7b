/**
 * The senders of Lambda's HTTP events, as AWS's pages describe them: they turn a client's request into an event (the
 * recorded one of events/, with the request's own parts in place) and what a handler returned into what the client sees.
 */
import { readFileSync } from "node:fs";
import type { HttpEvent } from "../../src/lambda.js";

export const KINDS = ["rest", "http-api", "function-url", "alb", "alb-multi"] as const;
export type Kind = (typeof KINDS)[number];

export interface Sent {
  readonly method?: string;
  readonly path?: string;
  /** As it stands in the URL. */
  readonly query?: string;
  readonly key?: string;
  readonly headers?: readonly (readonly [name: string, value: string])[];
  readonly body?: string | Uint8Array;
}

export interface Seen {
  readonly status: number;
  /** Names in lower case; repeated lines one by one. Cookies are among them. */
  readonly fields: Readonly<Record<string, readonly string[]>>;
  readonly body: Buffer;
}

type Lists = Record<string, string[]>;
type Json = Record<string, unknown>;

/** @param folder `printed` for AWS's own sample. */
export function sample(kind: Kind, folder: "" | "printed/" = ""): HttpEvent & Json {
  const file = new URL(`./events/${folder}${kind}.json`, import.meta.url);
  return JSON.parse(readFileSync(file, "utf8")) as HttpEvent & Json;
}

/** A recorded event, short of what its sender said of its body. */
function recorded(kind: Kind): HttpEvent & Json {
  const event = sample(kind);
  const bare = <T>(fields: T): T =>
    Object.fromEntries(
      Object.entries(fields ?? {}).filter(([name]) => !/^content-/i.test(name)),
    ) as T;
  return {
    ...event,
    ...(event.headers && { headers: bare(event.headers) }),
    ...(event.multiValueHeaders && { multiValueHeaders: bare(event.multiValueHeaders) }),
  };
}

/** The event of one request. */
export function eventOf(kind: Kind, sent: Sent = {}): HttpEvent & Json {
  const { method = "POST", path = "/payments", query = "", key, headers = [], body = "" } = sent;
  const event = recorded(kind);
  const isText = typeof body === "string";
  const lines = [...headers, ...(key === undefined ? [] : [["Idempotency-Key", key] as const])];
  const common = {
    body: isText ? body : Buffer.from(body).toString("base64"),
    isBase64Encoded: !isText,
  };
  if (kind === "http-api" || kind === "function-url") {
    const context = event.requestContext as { http: Json };
    // Lower case, and repeated lines joined by commas.
    const joined = Object.entries(byName(lines, true)).map(([n, values]) => [n, values.join(",")]);
    return {
      ...event,
      ...common,
      rawPath: path,
      rawQueryString: query,
      headers: { ...event.headers, ...Object.fromEntries(joined) },
      requestContext: { ...context, http: { ...context.http, method, path } },
    };
  }
  const pairs =
    query === "" ? [] : query.split("&").map((pair) => pair.split("=") as [string, string]);
  // API Gateway decodes the query, a balancer does not.
  const decode = (text = "") =>
    kind === "rest" ? decodeURIComponent(text.replaceAll("+", " ")) : text;
  const queries = byName(
    pairs.map(([name, value]) => [decode(name), decode(value)]),
    false,
  );
  const lists = byName(lines, kind !== "rest");
  return {
    ...event,
    ...common,
    httpMethod: method,
    path,
    ...(kind !== "alb" && {
      multiValueHeaders: { ...event.multiValueHeaders, ...lists },
      multiValueQueryStringParameters: query === "" ? null : queries,
    }),
    ...(kind !== "alb-multi" && {
      headers: { ...event.headers, ...lasts(lists) },
      queryStringParameters: query === "" ? null : lasts(queries),
    }),
  };
}

function byName(lines: readonly (readonly [string, string])[], lower: boolean): Lists {
  const lists: Lists = {};
  for (const [name, value] of lines) (lists[lower ? name.toLowerCase() : name] ??= []).push(value);
  return lists;
}

function lasts(lists: Lists): Record<string, string> {
  return Object.fromEntries(
    Object.entries(lists).map(([name, values]) => [name, values.at(-1) ?? ""]),
  );
}

/** What the client sees of a handler's result, once it went through the runtime as JSON. */
export function clientSees(kind: Kind, result: unknown): Seen {
  const response = JSON.parse(JSON.stringify(result ?? null)) as Json | null;
  const isHttp = kind === "http-api" || kind === "function-url";
  if (isHttp && response?.["statusCode"] === undefined) {
    const text = typeof response === "string" ? response : JSON.stringify(response);
    return {
      status: 200,
      fields: { "content-type": ["application/json"] },
      body: Buffer.from(text),
    };
  }
  const { statusCode, headers, multiValueHeaders, cookies, body, isBase64Encoded } = response ?? {};
  if (body !== undefined && body !== null && typeof body !== "string")
    throw new Error("malformed response");
  const single = Object.entries((headers ?? {}) as Json).map(
    ([n, value]) => [n, String(value)] as const,
  );
  const multi = Object.entries((multiValueHeaders ?? {}) as Record<string, unknown[]>).flatMap(
    ([name, values]) => values.map((value) => [name, String(value)] as const),
  );
  const known = new Set(multi.map(([name, value]) => `${name.toLowerCase()}:${value}`));
  const fields: Record<Kind, () => (readonly [string, string])[]> = {
    rest: () => [...single.filter(([n, v]) => !known.has(`${n.toLowerCase()}:${v}`)), ...multi],
    "http-api": () => [...single, ...cookieFields(cookies)],
    "function-url": () => [...single, ...cookieFields(cookies)],
    alb: () => single,
    "alb-multi": () => multi,
  };
  return {
    status: Number(statusCode),
    fields: byName(fields[kind](), true),
    body: Buffer.from(
      (body as string | undefined) ?? "",
      isBase64Encoded === true ? "base64" : "utf8",
    ),
  };
}

function cookieFields(cookies: unknown): (readonly [string, string])[] {
  return ((cookies ?? []) as string[]).map((cookie) => ["Set-Cookie", cookie]);
}
