/** Answers in the form that an event asks for. */
import { isUtf8 } from "node:buffer";
import { STATUS_CODES } from "node:http";
import type { CachedResponse, HeaderFields } from "../store.js";
import type { EventKind } from "./event.js";

/** A response to API Gateway, a function URL or a load balancer. */
export interface LambdaAnswer {
  statusCode: number;
  /** Load balancers only. */
  statusDescription?: string;
  headers?: Record<string, string>;
  /** API Gateway REST, and load balancers with multi-value headers. */
  multiValueHeaders?: Record<string, string[]>;
  /** HTTP APIs and function URLs. */
  cookies?: string[];
  body: string;
  isBase64Encoded: boolean;
}

type Answered = Pick<CachedResponse, "statusCode" | "statusMessage" | "headers" | "body">;

export function answerFor(kind: EventKind, answered: Answered): LambdaAnswer {
  const { statusCode, headers, body } = answered;
  switch (kind) {
    case "rest":
      return { statusCode, ...restFields(headers), ...bodyOf(body) };
    case "http":
      return { statusCode, ...httpFields(headers), ...bodyOf(body) };
    case "alb":
    case "alb-multi": {
      const reason = answered.statusMessage ?? STATUS_CODES[statusCode] ?? "";
      const statusDescription = `${statusCode} ${reason}`.trimEnd();
      // The target group's setting decides which of the two a balancer reads.
      const fields = kind === "alb" ? albFields(headers) : { multiValueHeaders: listed(headers) };
      return { statusCode, statusDescription, ...fields, ...bodyOf(body) };
    }
    default:
      throw new Error(`Bug! Unknown kind of event ${JSON.stringify(kind satisfies never)}`);
  }
}

/** A stored response, and that it is a replay: for this client alone, so that no cache takes it for others' answer. */
export function replayFor(
  kind: EventKind,
  response: CachedResponse,
  extra: HeaderFields,
): LambdaAnswer {
  const added: HeaderFields = [
    ...extra,
    ["Idempotency-Replayed", "true"],
    ["Cache-Control", "no-store"],
  ];
  return answerFor(kind, { ...response, headers: replaced(response.headers, added) });
}

/** The last of one name counts among `added`, and replaces all of that name in `fields`. */
function replaced(fields: HeaderFields, added: HeaderFields): HeaderFields {
  const names = new Map(added.map((field) => [field[0].toLowerCase(), field]));
  return [...fields.filter(([name]) => !names.has(name.toLowerCase())), ...names.values()];
}

/** Text as text and other bytes as base64, as handlers do. */
export function bodyOf(body: Uint8Array): Pick<LambdaAnswer, "body" | "isBase64Encoded"> {
  const bytes = Buffer.from(body.buffer, body.byteOffset, body.byteLength);
  return isUtf8(bytes)
    ? { body: bytes.toString("utf8"), isBase64Encoded: false }
    : { body: bytes.toString("base64"), isBase64Encoded: true };
}

/** API Gateway merges both maps; the first is the simpler one to read. */
function restFields(fields: HeaderFields): Pick<LambdaAnswer, "headers" | "multiValueHeaders"> {
  const lists = Object.entries(listed(fields));
  const headers = Object.fromEntries(
    lists.flatMap(([name, [value = "", ...others]]) =>
      others.length === 0 ? [[name, value]] : [],
    ),
  );
  const repeated = lists.filter(([, values]) => values.length > 1);
  return repeated.length === 0
    ? { headers }
    : { headers, multiValueHeaders: Object.fromEntries(repeated) };
}

function httpFields(fields: HeaderFields): Pick<LambdaAnswer, "headers" | "cookies"> {
  const cookies = fields.filter(([name]) => isSetCookie(name)).map(([, value]) => value);
  const others = Object.entries(listed(fields.filter(([name]) => !isSetCookie(name))));
  const headers = Object.fromEntries(others.map(([name, values]) => [name, values.join(", ")]));
  return cookies.length === 0 ? { headers } : { headers, cookies };
}

/** One value to a name: handlers that set two cookies spell the name in two ways, so spellings stay as they are. */
function albFields(fields: HeaderFields): Pick<LambdaAnswer, "headers"> {
  return { headers: Object.fromEntries(fields) };
}

/** Values by name, in the spelling that comes first. */
function listed(fields: HeaderFields): Record<string, string[]> {
  const lists = new Map<string, [name: string, values: string[]]>();
  for (const [name, value] of fields) {
    const lower = name.toLowerCase();
    const list = lists.get(lower);
    if (list === undefined) lists.set(lower, [name, [value]]);
    else list[1].push(value);
  }
  return Object.fromEntries(lists.values());
}

function isSetCookie(name: string): boolean {
  return name.toLowerCase() === "set-cookie";
}
