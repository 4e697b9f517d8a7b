/** Keys: from the header to what a store sees, and what is derived from them on the way. */
import { createHash, hash, type Hash } from "node:crypto";
import { IdempotencyError } from "./errors.js";

export const DEFAULT_HEADER_NAME = "Idempotency-Key";

/** In characters, as Stripe's; a UUID has 36. */
export const MAX_KEY_LENGTH = 255;
/** Parameters after a quoted key mean nothing here, so they need no more room than this. */
const MAX_PARAMETERS_LENGTH = 1024;

/** A request as the protocol's front doors describe it to key functions (http and Lambda alike). */
export interface KeyedRequest {
  readonly key: string; // as the client meant it: unquoted
  readonly method: string; // upper case
  readonly url: string; // path and query as sent
  readonly contentType: string | undefined;
  readonly body: Uint8Array;
}

export type KeyResult =
  | { readonly ok: true; readonly key: string }
  /** `detail` is a sentence for the client; it never repeats what was sent. */
  | { readonly ok: false; readonly detail: string };

/**
 * Parses the field lines of the key header: an RFC 9651 string item, or the same key bare.
 *
 * @param fieldLines One entry per header line, as received. A repeated header is refused, not joined.
 * @param maxLength Longest key, in characters after unescaping.
 * @returns The key, or what is wrong and what to do about it. Never throws; takes linear time.
 * @example
 * parseKey(['"8e03978e-40d5"']); // { ok: true, key: "8e03978e-40d5" }
 * parseKey(["8e03978e-40d5"]);   // the same key
 */
export function parseKey(fieldLines: readonly string[], maxLength = MAX_KEY_LENGTH): KeyResult {
  const [line, ...others] = fieldLines;
  if (line === undefined) return refuse("The key header is missing: send it once.");
  if (others.length > 0) return refuse("The key header was sent more than once: send one key.");
  // Every character of a quoted key may be escaped; what is longer cannot be a key, so it is not even scanned.
  const tooLong = `The key is too long: use at most ${maxLength} characters.`;
  if (line.length > 2 * maxLength + 2 + MAX_PARAMETERS_LENGTH) return refuse(tooLong);
  // RFC 9110 section 5.5: spaces and tabs around a field value are not part of it.
  const text = line.trim();
  if (/[^\t -~]/.test(line) || text.includes("\t")) {
    return refuse("The key has control or non-ASCII characters: use visible ASCII only.");
  }
  if (text === "") return refuse("The key is empty: send a random string such as a UUID.");
  const result = text.startsWith('"') ? quotedKey(text) : bareKey(text);
  return result.ok && result.key.length > maxLength ? refuse(tooLong) : result;
}

/** Draft-07 section 2.1 asks for the quoted form; most clients in the field send this one. */
function bareKey(text: string): KeyResult {
  // A comma is how proxies join two header lines (RFC 9110 section 5.3), so it cannot be part of one bare key.
  if (text.includes(",")) return refuse("The key has a comma: send one key, or quote it.");
  if (text.includes(" ")) return refuse("The key has a space: remove it, or quote the key.");
  if (text.includes('"')) return refuse("The key has a stray quote: quote all of it or nothing.");
  return { ok: true, key: text };
}

function quotedKey(text: string): KeyResult {
  const string = readString(text, 0);
  if (string === undefined) {
    return refuse('The quoted key is malformed: end it with a quote, escape only \\" and \\\\.');
  }
  if (!parametersEnd(text, string.end)) {
    return refuse("Only parameters may follow a quoted key: send one key and nothing else.");
  }
  if (string.value.trim() === "") return refuse("The quoted key is blank: send a random string.");
  return { ok: true, key: string.value };
}

/** RFC 9651 section 4.2.5. The text is printable ASCII and has a quote at `start`. */
function readString(text: string, start: number): { value: string; end: number } | undefined {
  let value = "";
  for (let at = start + 1; at < text.length; at += 1) {
    let char = text.charAt(at);
    if (char === '"') return { value, end: at + 1 };
    if (char === "\\") {
      at += 1;
      char = text.charAt(at);
      if (char !== '"' && char !== "\\") return undefined;
    }
    value += char;
  }
  return undefined;
}

const PARAMETER_NAME = /; *[a-z*][a-z0-9_.*-]*/y;
/** Bare items other than strings, RFC 9651 sections 4.2.4 to 4.2.10: the first character tells them apart. */
const BARE_ITEM =
  /-?\d{1,12}\.\d{1,3}|-?\d{1,15}|[A-Za-z*][\w!#$%&'*+.^`|~:/-]*|:[A-Za-z0-9+/=]*:|\?[01]|@-?\d{1,15}|%"(?:[ !#$&-~]|%[0-9a-f]{2})*"/y;

/** Whether nothing but parameters stands between `start` and the end, RFC 9651 section 4.2.3.2. */
function parametersEnd(text: string, start: number): boolean {
  let at: number | undefined = start;
  while (at !== undefined && at < text.length) {
    at = matchEnd(PARAMETER_NAME, text, at);
    if (at !== undefined && text[at] === "=") {
      at += 1;
      at = text[at] === '"' ? readString(text, at)?.end : matchEnd(BARE_ITEM, text, at);
    }
  }
  return at !== undefined;
}

function matchEnd(sticky: RegExp, text: string, at: number): number | undefined {
  sticky.lastIndex = at;
  return sticky.test(text) ? sticky.lastIndex : undefined;
}

function refuse(detail: string): KeyResult {
  return { ok: false, detail };
}

/**
 * What goes to a store instead of the client's key: SHA-256 over scope and key. A key without a scope is
 * another one than the same key in any scope, the empty one included.
 *
 * @param scope Whose key it is, for example a tenant's id.
 * @returns 43 base64url characters.
 * @throws {IdempotencyError} `KEY_MISSING` for an empty key or none: all such requests would share one.
 * @example
 * storageKey("8e03978e-40d5", "tenant-7");
 */
export function storageKey(key: string, scope?: string): string {
  if (typeof key !== "string" || key === "") {
    throw new IdempotencyError("KEY_MISSING", "The key is empty: give every request one.");
  }
  return sha256("key", scope === undefined ? [key] : [scope, key]);
}

/**
 * A key for a call that the handler makes to another service: every execution of one request derives the
 * same, and other labels derive others. It tells nothing about the key that it came from.
 *
 * @param stored What `storageKey` made of the client's key.
 * @param label What the call is for, unique within the request.
 * @returns A UUID of version 8 (RFC 9562 section 5.8).
 * @example
 * deriveKey(storageKey("8e03978e-40d5"), "charge-card");
 */
export function deriveKey(stored: string, label: string): string {
  const hex = sha256("derive", [stored, label], "hex");
  // RFC 9562 section 4: the version is the 13th digit, the variant the two high bits of the 17th.
  const variant = "89ab".charAt(Number.parseInt(hex.charAt(16), 16) % 4);
  const fields = [hex.slice(0, 8), hex.slice(8, 12), `8${hex.slice(13, 16)}`];
  return [...fields, variant + hex.slice(17, 20), hex.slice(20, 32)].join("-");
}

/**
 * For `keyFunc`: another method, URL or body is another request that runs, instead of a 422. The body counts
 * byte by byte, as in the Go package that this one follows; pass `fingerprint` instead where a retry may
 * spell the same JSON or form data differently.
 *
 * @returns 43 base64url characters.
 * @example
 * idempotency(store, { keyFunc: fingerprintedKey });
 */
export function fingerprintedKey(request: KeyedRequest): string {
  return sha256("request", [request.key, request.method, request.url, request.body]);
}

/** In Unicode mode this is a surrogate without its partner, which UTF-8 cannot express. */
const LONE_SURROGATE = /\p{Surrogate}/u;

/**
 * SHA-256 over a list of parts, each led by its length in bytes: no two lists read the same, whatever is in
 * them. The purpose keeps hashes for one use from being taken for another's.
 *
 * @internal
 */
export function sha256(
  purpose: string,
  parts: readonly (string | Uint8Array)[],
  encoding: "base64url" | "hex" = "base64url",
): string {
  let text = `idempotency-kit/1/${purpose}`; // the format's version: other versions' hashes never meet these
  let stream: Hash | undefined;
  for (const part of parts) {
    if (typeof part === "string") {
      text += framed(part);
    } else {
      stream ??= createHash("sha256");
      stream.update(`${text}|${part.byteLength}:`).update(part);
      text = "";
    }
  }
  // One shot is two to three times as fast as a stream, which is for bytes that need not be copied.
  return stream?.update(text).digest(encoding) ?? hash("sha256", text, encoding);
}

function framed(part: string): string {
  // UTF-8 would turn all lone surrogates into one character: JSON escapes them, and the mark says that it did.
  return LONE_SURROGATE.test(part)
    ? `|json${framed(JSON.stringify(part))}`
    : `|${Buffer.byteLength(part)}:${part}`;
}
