/** Whether two requests with one key are the same request: one short text per content. */
import { canonicalJson } from "./canonical-json.js";
import { sha256, type KeyedRequest } from "../key.js";

/** What counts of a body, led by a name for how it was read: equal parts read in two ways stay two contents. */
type Content = readonly [kind: "json" | "multipart" | "raw", ...parts: (string | Uint8Array)[]];

/** Hashing takes time per part: a small body of tiny parts must not cost more than a large one. */
const MAX_PARTS = 1_000;

/** RFC 2046 section 5.1.1. */
const BOUNDARY = /^[\w'()+,./:=? -]{0,69}[\w'()+,./:=?-]$/;

/** RFC 9110 section 5.6.6, and characters of boundaries that clients should have quoted. */
const PARAMETER = /[ \t]*;[ \t]*(?:([^\s;="]+)=(?:"((?:[^"\\]|\\.)*)"|([^\s;"]+)))?/y;

/** Keeps a byte order mark: RFC 8259 section 8.1 does not allow one, so such a body counts byte by byte. */
const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * The fingerprint of a request: SHA-256 over method, URL, body and key. The key is its salt: stores see it
 * only hashed, so a body with few possible contents cannot be guessed from a stolen fingerprint.
 *
 * JSON counts by content ({@link canonicalJson}), multipart by its parts whatever the boundary; any other
 * body, and one that is not what its media type says, byte by byte. Headers do not count.
 *
 * @returns 43 base64url characters.
 * @example
 * fingerprint({ key: "8e03978e", method: "POST", url: "/pay", contentType: "application/json", body });
 */
export function fingerprint(request: KeyedRequest): string {
  const { key, method, url } = request;
  return sha256("fingerprint", [key, method, url, ...contentOf(request)]);
}

function contentOf({ contentType = "", body }: KeyedRequest): Content {
  const [essence = ""] = contentType.split(";", 1);
  const mediaType = essence.trim().toLowerCase();
  let content: Content | undefined;
  if (mediaType === "application/json" || /^[^/]+\/.+\+json$/.test(mediaType)) {
    content = jsonContent(body);
  } else if (mediaType.startsWith("multipart/")) {
    content = multipartContent(body, boundaryOf(contentType.slice(essence.length)));
  }
  // What could not be read is not refused: the handler may see something in it, so every byte counts.
  return content ?? ["raw", body];
}

function jsonContent(body: Uint8Array): Content | undefined {
  try {
    return ["json", canonicalJson(utf8.decode(body))];
  } catch {
    return undefined;
  }
}

/** The boundary, if there is exactly one and RFC 2046 allows it: of two, parsers differ on which one counts. */
function boundaryOf(parameters: string): string | undefined {
  const boundaries: string[] = [];
  const { length } = parameters.trimEnd();
  for (let at = 0; at < length; at = PARAMETER.lastIndex) {
    PARAMETER.lastIndex = at;
    const parameter = PARAMETER.exec(parameters);
    if (parameter === null) return undefined;
    const [, name = "", quoted, bare = ""] = parameter;
    if (name.toLowerCase() === "boundary") {
      boundaries.push(quoted?.replaceAll(/\\(.)/g, "$1") ?? bare);
    }
  }
  const [boundary = ""] = boundaries;
  return boundaries.length === 1 && BOUNDARY.test(boundary) ? boundary : undefined;
}

/**
 * What stands between the delimiter lines, preamble and epilogue included: clients draw another boundary for
 * every try. The boundary may stand in delimiter lines only, and these must be written exactly as in RFC 2046
 * section 5.1.1: parsers differ on all others, so one handler could see parts where another sees content.
 */
function multipartContent(body: Uint8Array, boundary: string | undefined): Content | undefined {
  if (boundary === undefined) return undefined;
  const bytes = Buffer.from(body.buffer, body.byteOffset, body.byteLength);
  const delimiter = `--${boundary}`;
  const parts: Uint8Array[] = [];
  let start = 0;
  while (parts.length <= MAX_PARTS) {
    const at = bytes.indexOf(delimiter, start);
    const end = at === 0 ? 0 : at - 2;
    // One line break cannot end a delimiter line and begin the next: a part never ends before its start.
    if (end < start || (at > 0 && bytes.toString("latin1", end, at) !== "\r\n")) return undefined;
    parts.push(bytes.subarray(start, end));
    start = at + delimiter.length + 2;
    const ending = bytes.toString("latin1", start - 2, start);
    if (ending === "--") return withEpilogue(parts, bytes.subarray(start), delimiter);
    if (ending !== "\r\n") return undefined;
  }
  return undefined;
}

function withEpilogue(
  parts: Uint8Array[],
  epilogue: Buffer,
  delimiter: string,
): Content | undefined {
  const ends = epilogue.length === 0 || epilogue.toString("latin1", 0, 2) === "\r\n";
  return ends && !epilogue.includes(delimiter) ? ["multipart", ...parts, epilogue] : undefined;
}
