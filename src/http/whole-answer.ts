/** Answers that a handler gives as a whole instead of writing them to its response. */
import type { ServerResponse } from "node:http";
import {
  composeHead,
  isBodiless,
  readHead,
  recordingOf,
  resetHead,
  setFields,
  type Head,
} from "./response-head.js";
import type { HeaderFields, RecordedResponse } from "../store.js";

/** An answer as a whole. */
export interface Answer {
  /** Default: 200. */
  readonly statusCode?: number;
  readonly headers?: Readonly<Record<string, string | number | readonly string[]>>;
  /** Text, bytes, or what `JSON.stringify` makes `application/json` of. */
  readonly body?: unknown;
}

/**
 * What would be recorded of a response that answered so; the response itself stays as it is.
 *
 * @param before What is not part of the recording, because every response gets it anew.
 * @throws {Error} where this cannot be kept, or not be sent as a header.
 */
export function recordingOfAnswer(
  res: ServerResponse,
  before: Head,
  maxBytes: number,
  { statusCode = 200, headers = {}, body }: Answer,
): RecordedResponse {
  const now = readHead(res);
  try {
    if (isJson(body) && !res.hasHeader("Content-Type")) {
      res.setHeader("Content-Type", "application/json");
    }
    setFields(res, fieldsOf(headers));
    const head = composeHead(res, [statusCode], true);
    const bytes = isBodiless(res, head) ? Buffer.alloc(0) : bytesOf(body);
    if (bytes.byteLength > maxBytes) {
      throw new RangeError(
        `The answer has ${bytes.byteLength} bytes, and maxResponseBytes is ${maxBytes}: it could not be replayed.`,
      );
    }
    return recordingOf(head, before, bytes, []);
  } finally {
    resetHead(res, now);
  }
}

export function fieldsOf(headers: NonNullable<Answer["headers"]>): HeaderFields {
  return Object.entries(headers).flatMap(([name, value]) =>
    (Array.isArray(value) ? (value as string[]) : [value]).map(
      (one) => [name, String(one)] as const,
    ),
  );
}

export function isJson(body: unknown): boolean {
  return body !== undefined && typeof body !== "string" && !(body instanceof Uint8Array);
}

export function bytesOf(body: unknown): Buffer {
  if (body === undefined) return Buffer.alloc(0);
  if (typeof body === "string") return Buffer.from(body);
  // A copy: the writer may reuse its buffer.
  if (body instanceof Uint8Array) return Buffer.from(body);
  return Buffer.from(JSON.stringify(body));
}
