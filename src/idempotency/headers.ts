/** Which header fields of a response are kept for its replay. */
import type { HeaderFields } from "../store.js";

/** Of one connection only (RFC 9110 section 7.6.1), or made anew for every message (Date, Age, framing). */
const NEVER_KEPT = new Set([
  "connection",
  "keep-alive",
  "proxy-connection",
  "proxy-authenticate",
  "proxy-authorization",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
  "content-length",
  "date",
  "age",
  // Of one answer, not of the response: the kit's own mark, and how long it took.
  "idempotency-replayed",
  "server-timing",
]);

/** Credentials and challenges: kept only where the option `storeHeaders` names them. */
const WITHHELD = new Set(["set-cookie", "www-authenticate"]);

/**
 * Header fields fit to be stored and replayed.
 *
 * @param alsoKeep Lower-case names of fields that are withheld by default.
 */
export function storableHeaders(
  headers: HeaderFields,
  alsoKeep: ReadonlySet<string>,
): HeaderFields {
  const named = connectionOptions(headers);
  return headers.filter(([name]) => {
    const lower = name.toLowerCase();
    if (NEVER_KEPT.has(lower) || named.has(lower)) return false;
    return !WITHHELD.has(lower) || alsoKeep.has(lower);
  });
}

const NONE: ReadonlySet<string> = new Set();

/** Fields that `Connection` names are of this connection only too. */
function connectionOptions(headers: HeaderFields): ReadonlySet<string> {
  const lines = headers.filter(([name]) => name.toLowerCase() === "connection");
  if (lines.length === 0) return NONE;
  const options = lines.flatMap(([, value]) => value.split(","));
  return new Set(options.map((option) => option.trim().toLowerCase()));
}
