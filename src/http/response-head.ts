/** The head of a `http.ServerResponse`: composed as Node would send it, read back, and put back. */
import {
  STATUS_CODES,
  type OutgoingHttpHeader,
  type OutgoingHttpHeaders,
  type ServerResponse,
} from "node:http";
import type { HeaderFields, RecordedResponse, TombstoneReason } from "../store.js";

export type WriteHeadArguments = readonly unknown[];

export interface Head {
  readonly statusCode: number;
  readonly statusMessage: string;
  readonly headers: HeaderFields;
  /** Whether Node adds a Date. */
  readonly sendDate: boolean;
}

/** A head that stands: to the handler it has been sent. */
export interface ComposedHead extends Head {
  /** Its lines, as Node keeps them in `_header` to know that the head is out. */
  readonly text: string;
  /** Whether the body goes out in chunks, so that trailers can follow it. */
  readonly chunked: boolean;
}

/** Plain fields by which Node frames a message; `writeHead` writes to them, from Node 20 to 24. */
interface Framing {
  _header: string | null;
  _headerSent: boolean;
  _contentLength: number | null;
  _hasBody: boolean;
  _last: boolean;
  _defaultKeepAlive: boolean;
  _removedConnection: boolean;
  _removedContLen: boolean;
  _removedTE: boolean;
  chunkedEncoding: boolean;
  shouldKeepAlive: boolean;
}

interface Internals extends Framing {
  finished: boolean;
  destroyed: boolean;
  _closed: boolean;
  _send: () => boolean;
  getRawHeaderNames(): string[];
}

/** A response with what Node keeps on it besides the public fields. */
export type NodeResponse = Omit<ServerResponse, keyof Internals> & Internals;

/** Node's own methods, whoever has wrapped those of one response. */
export function prototypeOf(res: ServerResponse): Record<"writeHead" | "write" | "end", Method> {
  return Object.getPrototypeOf(res) as Record<"writeHead" | "write" | "end", Method>;
}

type Method = (...args: readonly unknown[]) => unknown;

/**
 * Does what `writeHead` does short of sending. Node itself does it, and what it framed is put back: so all forms of
 * arguments, all checks and all errors are those of the Node that runs.
 *
 * @param whole The body is complete with this head: Node then sends its length, where it would send chunks.
 */
export function composeHead(
  res: ServerResponse,
  args: WriteHeadArguments,
  whole: boolean,
): ComposedHead {
  const node = res as unknown as NodeResponse;
  const framing = framingOf(node);
  const { _send: send } = node;
  // Only whether it is a number matters here.
  node._contentLength = whole ? 0 : null;
  // A response with an Expect field would leave at once.
  node._send = keepBack;
  let text: string;
  let chunked: boolean;
  try {
    Reflect.apply(prototypeOf(res).writeHead, res, args);
    text = node._header ?? "";
    chunked = node.chunkedEncoding;
  } finally {
    node._send = send;
    putBack(node, framing);
  }
  const headers = res.getHeaderNames().length === 0 ? setAll(res, args) : headerFields(res);
  const { statusCode, statusMessage, sendDate } = res;
  return { statusCode, statusMessage, sendDate, headers, text, chunked };
}

function keepBack(): boolean {
  return true;
}

/** Field by field, here and in `putBack`: this runs for every response, and copying by name takes ten times as long. */
function framingOf(res: Framing): Framing {
  return {
    _header: res._header,
    _headerSent: res._headerSent,
    _contentLength: res._contentLength,
    _hasBody: res._hasBody,
    _last: res._last,
    _defaultKeepAlive: res._defaultKeepAlive,
    _removedConnection: res._removedConnection,
    _removedContLen: res._removedContLen,
    _removedTE: res._removedTE,
    chunkedEncoding: res.chunkedEncoding,
    shouldKeepAlive: res.shouldKeepAlive,
  };
}

function putBack(res: Framing, framing: Framing): void {
  res._header = framing._header;
  res._headerSent = framing._headerSent;
  res._contentLength = framing._contentLength;
  res._hasBody = framing._hasBody;
  res._last = framing._last;
  res._defaultKeepAlive = framing._defaultKeepAlive;
  res._removedConnection = framing._removedConnection;
  res._removedContLen = framing._removedContLen;
  res._removedTE = framing._removedTE;
  res.chunkedEncoding = framing.chunkedEncoding;
  res.shouldKeepAlive = framing.shouldKeepAlive;
}

/**
 * Node keeps the fields of `writeHead` only where others were set before; on their own it sends them as they are.
 *
 * @returns The header fields of the response from now on.
 */
function setAll(res: ServerResponse, args: WriteHeadArguments): HeaderFields {
  const given = args[2] ?? (typeof args[1] === "string" ? undefined : args[1]);
  const fields = (given ?? {}) as OutgoingHttpHeaders | OutgoingHttpHeader[];
  const list = (Array.isArray(fields) ? pairs(fields) : Object.entries(fields)) as Field[];
  const lines = fieldLines(list);
  let isRepeated = false;
  for (const [name, value] of lines) {
    if (res.hasHeader(name)) {
      isRepeated = true;
      res.appendHeader(name, value);
    } else res.setHeader(name, value);
  }
  // Node groups repetitions.
  return isRepeated ? headerFields(res) : lines;
}

function pairs(list: readonly OutgoingHttpHeader[]): readonly Field[] {
  if (Array.isArray(list[0])) return list as unknown as Field[];
  return list.flatMap((name, i) => (i % 2 === 0 ? [[String(name), list[i + 1] ?? ""]] : []));
}

/** The header fields that are set on a response, names in their own case, repetitions one by one. */
function headerFields(res: ServerResponse): HeaderFields {
  const names = (res as unknown as NodeResponse).getRawHeaderNames();
  return fieldLines(names.map((name) => [name, res.getHeader(name) ?? ""]));
}

/** Repetitions one by one. */
function fieldLines(fields: readonly Field[]): HeaderFields {
  const lines: (readonly [name: string, value: string])[] = [];
  for (const [name, value] of fields) {
    if (Array.isArray(value)) for (const one of value as unknown[]) lines.push([name, String(one)]);
    else lines.push([name, String(value)]);
  }
  return lines;
}

type Field = readonly [name: string, value: OutgoingHttpHeader];

export type Trailers = NodeJS.ReadOnlyDict<OutgoingHttpHeader> | readonly Field[];

/** Trailers as `addTrailers` took them. */
export function trailerFields(trailers: Trailers): HeaderFields {
  const fields = (Array.isArray(trailers) ? trailers : Object.entries(trailers)) as Field[];
  return fieldLines(fields);
}

/** What is recorded of a response: short of the fields that were `before` it, which every response gets anew. */
export function recordingOf(
  head: ComposedHead,
  before: Head,
  body: Buffer,
  trailers: HeaderFields,
): RecordedResponse {
  const headers = changedFields(head.headers, before.headers);
  const { statusCode, statusMessage } = statusOf(head);
  const recorded = { statusCode, headers, body };
  // Node sends trailers only where it sends chunks.
  const trailed = head.chunked && trailers.length > 0;
  if (statusMessage === undefined && !trailed) return recorded;
  return {
    ...recorded,
    ...(statusMessage !== undefined && { statusMessage }),
    ...(trailed && { trailers }),
  };
}

export function tombstoneOf(head: Head, tombstone: TombstoneReason): RecordedResponse {
  return { ...statusOf(head), headers: [], body: Buffer.alloc(0), tombstone };
}

/** Those of `fields` that are not the same in `before`, compared name by name. */
function changedFields(fields: HeaderFields, before: HeaderFields): HeaderFields {
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
  res.sendDate = head.sendDate;
}

export function readHead(res: ServerResponse): Head {
  const { statusCode, statusMessage, sendDate } = res;
  return { statusCode, statusMessage, sendDate, headers: headerFields(res) };
}

export interface Status {
  readonly statusCode: number;
  /** Reason phrase, only where it is not the standard one of the status. */
  readonly statusMessage?: string;
}

export function statusOf({ statusCode, statusMessage }: Head): Status {
  const standard = statusMessage === STATUS_CODES[statusCode];
  return standard ? { statusCode } : { statusCode, statusMessage };
}

/** A standard reason phrase is left to Node: wrappers outside may still change the status. */
export function setStatus(res: ServerResponse, { statusCode, statusMessage = "" }: Status): void {
  res.statusCode = statusCode;
  res.statusMessage = statusMessage;
}

/** Answers to HEAD, and 1xx, 204 and 304, have no body (RFC 9110 section 6.4.1); Node ignores what is written. */
export function isBodiless(res: ServerResponse, { statusCode }: Status): boolean {
  return res.req.method === "HEAD" || statusCode === 204 || statusCode === 304 || statusCode < 200;
}

/** Whether the client has the whole answer once it has the head. */
export function endsWithHead(res: ServerResponse, status: Status): boolean {
  return isBodiless(res, status) || declaredLength(res) === 0;
}

/** What `Content-Length` says, or `NaN`. */
export function declaredLength(res: ServerResponse): number {
  return Number(res.getHeader("content-length") ?? Number.NaN);
}

export function isEventStream(res: ServerResponse): boolean {
  return /^text\/event-stream\b/i.test(String(res.getHeader("content-type") ?? ""));
}

/** Whether the header fields do. */
export function asksForChunks(res: ServerResponse): boolean {
  return res.hasHeader("Transfer-Encoding") || res.hasHeader("Trailer");
}
