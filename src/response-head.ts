/** The head of a `http.ServerResponse`: every form of `writeHead`, applied and read back as Node would send it. */
import {
  STATUS_CODES,
  validateHeaderName,
  validateHeaderValue,
  type ServerResponse,
} from "node:http";
import type { HeaderFields } from "./store.js";

export type WriteHeadArguments = [statusCode: number, ...rest: unknown[]];

/** The methods that set header fields, as they were before anything was overridden. */
export type HeadMethods = Pick<ServerResponse, "setHeader" | "appendHeader" | "removeHeader">;

export interface Head {
  readonly statusCode: number;
  readonly statusMessage: string;
  readonly headers: HeaderFields;
}

/** Does what `writeHead` does short of sending: status, reason phrase and header fields go to `res`. */
export function applyHead(
  res: ServerResponse,
  methods: HeadMethods,
  [given, ...rest]: WriteHeadArguments,
): void {
  const statusCode = given | 0;
  if (statusCode < 100 || statusCode > 999) {
    throw coded(RangeError, "ERR_HTTP_INVALID_STATUS_CODE", `Invalid status code: ${given}`);
  }
  const reason = typeof rest[0] === "string" ? rest[0] : undefined;
  const headers = reason === undefined ? (rest[1] ?? rest[0]) : rest[1];
  res.statusMessage = reason ?? (res.statusMessage || (STATUS_CODES[statusCode] ?? "unknown"));
  validateHeaderValue("statusMessage", res.statusMessage);
  res.statusCode = statusCode;
  if (Array.isArray(headers)) applyList(res, methods, headers);
  else if (headers !== undefined && headers !== null) applyObject(res, methods, headers);
}

type HeaderValue = string | number | readonly string[];

function applyObject(res: ServerResponse, methods: HeadMethods, headers: object): void {
  for (const [name, value] of Object.entries(headers) as [string, HeaderValue][]) {
    if (name !== "") methods.setHeader.call(res, name, value);
  }
}

/** Pairs, or names and values in turn: these replace what was set before, and repetitions among them are kept. */
function applyList(res: ServerResponse, methods: HeadMethods, list: readonly unknown[]): void {
  const flat = (Array.isArray(list[0]) ? list.flat() : list) as (string & HeaderValue)[];
  if (flat.length % 2 !== 0) {
    throw coded(TypeError, "ERR_INVALID_ARG_VALUE", "The argument 'headers' must hold pairs.");
  }
  const pairs = Array.from(
    { length: flat.length / 2 },
    (_, i) => [flat[2 * i], flat[2 * i + 1]] as [string, string | readonly string[]],
  );
  for (const [name] of pairs) if (name) methods.removeHeader.call(res, name);
  for (const [name, value] of pairs) {
    if (name) methods.appendHeader.call(res, name, Array.isArray(value) ? value : String(value));
  }
}

/** The header fields that are set on a response, names in their own case, repetitions one by one. */
export function headerFields(res: ServerResponse): HeaderFields {
  // Node has it on every outgoing message since 15.4; the type declarations only on ClientRequest.
  const names = (res as ServerResponse & { getRawHeaderNames(): string[] }).getRawHeaderNames();
  return names.flatMap((name) => {
    const value = res.getHeader(name) ?? "";
    return Array.isArray(value)
      ? value.map((one): [string, string] => [name, one])
      : [[name, String(value)] as [string, string]];
  });
}

/** Trailers as `addTrailers` takes them, validated as it does. */
export function fieldsOf(
  trailers: NodeJS.ReadOnlyDict<string> | readonly (readonly [string, string])[],
): HeaderFields {
  const entries = Array.isArray(trailers)
    ? (trailers as readonly (readonly [string, string])[])
    : (Object.entries(trailers) as [string, string][]);
  return entries.flatMap(([name, value]) => {
    validateHeaderName(name);
    return [value].flat().map((one): [string, string] => {
      validateHeaderValue(name, one);
      return [name, one];
    });
  });
}

/** Those of `fields` that are not the same in `before`, compared name by name. */
export function changedFields(fields: HeaderFields, before: HeaderFields): HeaderFields {
  if (before.length === 0) return fields;
  const old = byName(before);
  const now = byName(fields);
  return fields.filter(([name]) => {
    const lower = name.toLowerCase();
    return now.get(lower)?.join("\0") !== old.get(lower)?.join("\0");
  });
}

function byName(fields: HeaderFields): Map<string, string[]> {
  const map = new Map<string, string[]>();
  for (const [name, value] of fields) {
    const lower = name.toLowerCase();
    const values = map.get(lower);
    if (values === undefined) map.set(lower, [value]);
    else values.push(value);
  }
  return map;
}

/** Sets `fields` on a response, replacing fields of the same name, keeping repetitions among them. */
export function setFields(res: ServerResponse, fields: HeaderFields): void {
  const names = new Set<string>();
  for (const [name, value] of fields) {
    const lower = name.toLowerCase();
    if (names.has(lower)) res.appendHeader(name, value);
    else res.setHeader(name, value);
    names.add(lower);
  }
}

/** Puts status, reason phrase and header fields back to what they were. */
export function resetHead(res: ServerResponse, head: Head): void {
  for (const name of res.getHeaderNames()) res.removeHeader(name);
  setFields(res, head.headers);
  res.statusCode = head.statusCode;
  res.statusMessage = head.statusMessage;
}

export function readHead(res: ServerResponse): Head {
  return {
    statusCode: res.statusCode,
    statusMessage: res.statusMessage,
    headers: headerFields(res),
  };
}

/** An error as Node's own: same class, code and meaning, for code that looks at them. */
export function coded(
  type: new (message: string) => Error,
  code: string,
  message: string,
): Error & { code: string } {
  return Object.assign(new type(message), { code });
}
