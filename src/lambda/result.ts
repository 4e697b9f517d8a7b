/** What a handler returned, read as the sender of its event would read it. */
import { STATUS_CODES } from "node:http";
import type { HeaderFields, RecordedResponse, TombstoneReason } from "../store.js";
import { answerFor, bodyOf } from "./answer.js";
import type { EventKind } from "./event.js";

export interface Recording {
  /** For the store. */
  readonly recorded: RecordedResponse;
  /** For the first client. */
  readonly answer: unknown;
  /** Why the result is none that could be stored; `answer` is then what the handler returned. */
  readonly flaw?: string;
}

/** A response as handlers write it: each kind of event reads some of these fields and ignores the others. */
interface Written {
  readonly statusCode?: unknown;
  readonly statusDescription?: unknown;
  readonly headers?: unknown;
  readonly multiValueHeaders?: unknown;
  readonly cookies?: unknown;
  readonly body?: unknown;
  readonly isBase64Encoded?: unknown;
}

/** Something that no sender would make a response of. */
class Flaw extends Error {}

/** @param maxBytes Longest body that is kept. */
export function recordResult(kind: EventKind, result: unknown, maxBytes: number): Recording {
  try {
    const { recorded, answer } = isInferred(kind, result)
      ? inferred(result)
      : written(kind, Object(result) as Written);
    const tooLarge = recorded.body.byteLength > maxBytes;
    return {
      recorded: tooLarge ? tombstone(recorded.statusCode, "too-large") : recorded,
      answer: answer === "own" ? result : answerFor(kind, recorded),
    };
  } catch (error) {
    // What reading it threw is the handler's own doing too: a getter, an object that is no JSON.
    const isFlaw = error instanceof Flaw;
    const { statusCode } = Object(isFlaw && result) as Written;
    return {
      recorded: tombstone(isStatus(statusCode) ? statusCode : 200, "not-storable"),
      answer: result,
      flaw: isFlaw ? error.message : "it cannot be written as JSON",
    };
  }
}

/**
 * What is stored of a result that is committed.
 *
 * @throws {TypeError} where it is none that a retry could get: nothing is committed then.
 */
export function committable({ recorded, flaw }: Recording): RecordedResponse {
  if (recorded.tombstone === undefined) return recorded;
  throw new TypeError(`commitWith: this result cannot be kept: ${flaw ?? recorded.tombstone}.`);
}

interface Read {
  readonly recorded: RecordedResponse;
  /** `own`: the handler's object goes to the client as it is. `explicit`: what is recorded, spelled out. */
  readonly answer: "own" | "explicit";
}

function tombstone(statusCode: number, reason: TombstoneReason): RecordedResponse {
  return { statusCode, headers: [], body: new Uint8Array(0), tombstone: reason };
}

/** Payload format 2.0: without a status, what is returned is the body. */
function isInferred(kind: EventKind, result: unknown): boolean {
  return kind === "http" && (Object(result) as Written).statusCode === undefined;
}

/** Spelled out for the first client as well: it and the retry must not depend on who infers. */
function inferred(result: unknown): Read {
  const text = typeof result === "string" ? result : JSON.stringify(result ?? null);
  if (text === undefined) throw new Flaw("it cannot be written as JSON");
  const headers: HeaderFields = [["content-type", "application/json"]];
  return { recorded: { statusCode: 200, headers, body: Buffer.from(text) }, answer: "explicit" };
}

function written(kind: EventKind, result: Written): Read {
  const { isBase64Encoded = false, body = "", statusCode } = result;
  // A status in quotes is one to API Gateway too.
  const status = typeof statusCode === "string" ? Number(statusCode) : statusCode;
  if (!isStatus(status)) throw new Flaw("its statusCode is no status from 100 to 599");
  if (body !== null && typeof body !== "string") throw new Flaw("its body is no string");
  const isBase64 = isBase64Encoded === true;
  const bytes = Buffer.from(body ?? "", isBase64 ? "base64" : "utf8");
  const recorded = { statusCode: status, headers: fieldsOf(kind, result), body: bytes };
  const message = reasonOf(kind, status, result.statusDescription);
  // A replay knows the bytes, not how they were spelled: text that was spelled as base64 is answered as text at once.
  const spelled = bodyOf(bytes);
  const same = spelled.body === (body ?? "") && spelled.isBase64Encoded === isBase64;
  const answer = same || bytes.byteLength === 0 ? "own" : "explicit";
  return {
    recorded: message === undefined ? recorded : { ...recorded, statusMessage: message },
    answer,
  };
}

function isStatus(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 100 && (value as number) <= 599;
}

/** The reason phrase in a balancer's `statusDescription`, such as `201 Created`, where it is not the standard one. */
function reasonOf(kind: EventKind, status: number, description: unknown): string | undefined {
  if (!kind.startsWith("alb") || typeof description !== "string") return undefined;
  const reason = description.replace(/^\d{3} ?/, "");
  return reason === STATUS_CODES[status] ? undefined : reason;
}

/** Only what the sender of the event reads: the rest never reaches a client, first or later. */
function fieldsOf(kind: EventKind, { headers, multiValueHeaders, cookies }: Written): HeaderFields {
  switch (kind) {
    case "rest": {
      // The same pair in both maps is one field.
      const lists = listFields(multiValueHeaders);
      const known = new Set(lists.map(pairKey));
      return [...singleFields(headers).filter((field) => !known.has(pairKey(field))), ...lists];
    }
    case "http":
      return [
        ...singleFields(headers),
        ...listOf(cookies, "cookies").map((cookie) => ["Set-Cookie", valueOf(cookie)] as const),
      ];
    case "alb":
      return singleFields(headers);
    case "alb-multi":
      return listFields(multiValueHeaders);
    default:
      throw new Error(`Bug! Unknown kind of event ${JSON.stringify(kind satisfies never)}`);
  }
}

function pairKey([name, value]: readonly [string, string]): string {
  return `${name.toLowerCase()}:${value}`;
}

function singleFields(map: unknown): HeaderFields {
  return entriesOf(map).map(([name, value]) => [name, valueOf(value)]);
}

function listFields(map: unknown): HeaderFields {
  return entriesOf(map).flatMap(([name, values]) =>
    listOf(values, "multiValueHeaders").map((value) => [name, valueOf(value)] as const),
  );
}

/** Without fields that JSON leaves out. */
function entriesOf(map: unknown): [string, unknown][] {
  if (map === undefined || map === null) return [];
  if (typeof map !== "object" || Array.isArray(map)) throw new Flaw("its headers are no object");
  return Object.entries(map).filter(([, value]) => value !== undefined && value !== null);
}

function listOf(values: unknown, what: string): readonly unknown[] {
  if (values === undefined || values === null) return [];
  if (!Array.isArray(values)) throw new Flaw(`its ${what} hold no list`);
  return values;
}

function valueOf(value: unknown): string {
  if (typeof value === "string" || typeof value === "number" || typeof value === "boolean") {
    return String(value);
  }
  throw new Flaw("one of its headers has no string, number or boolean as its value");
}
