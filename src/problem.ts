/** The kit's errors as RFC 9457 problem documents, the same for every front door. */
import type { ErrorCode, IdempotencyError } from "./errors.js";
import type { HeaderFields } from "./store.js";

/** Where the header is explained unless `docsUrl` names the service's own page, which the draft's section 2.7 asks for. */
export const DEFAULT_DOCS_URL =
  "https://datatracker.ietf.org/doc/html/draft-ietf-httpapi-idempotency-key-header-07";

export interface ProblemOptions {
  /**
   * Page that explains how this service uses the key; problem types are its fragments. Default:
   * `"https://datatracker.ietf.org/doc/html/draft-ietf-httpapi-idempotency-key-header-07"`.
   */
  readonly docsUrl: string;
  /** Other HTTP statuses than the kit's, by error code: `{ KEY_REUSED: 409 }`. Default: `{}`. */
  readonly statusCodes: Readonly<Partial<Record<ErrorCode, number>>>;
}

export interface Problem {
  readonly statusCode: number;
  readonly headers: HeaderFields;
  readonly body: Buffer;
}

/**
 * Statuses and titles. 400, 409 and 422 with these titles are section 2.7 of
 * draft-ietf-httpapi-idempotency-key-header-07; `%` stands for the header's name.
 */
const PROBLEMS: Record<ErrorCode, readonly [statusCode: number, title: string]> = {
  KEY_MISSING: [400, "% is missing"],
  KEY_INVALID: [400, "% is invalid"],
  KEY_REUSED: [422, "% is already used"],
  SCOPE_MISSING: [400, "% has no scope"],
  REQUEST_IN_PROGRESS: [409, "A request is outstanding for this %"],
  // RFC 9110 section 15.5.11: it was here and will not come back; a client that retries 409 or 5xx must not retry this.
  RESPONSE_NOT_KEPT: [410, "The response for this % was not kept"],
  BODY_TOO_LARGE: [413, "The request body is too large"],
  BODY_UNREADABLE: [500, "The request body cannot be read"],
  EVENT_UNKNOWN: [500, "The event is no HTTP request"],
  HANDLER_FAILED: [500, "The request failed"],
  LEASE_LOST: [503, "The result for this % is not known yet"],
  COMMIT_REFUSED: [500, "The result for this % was refused"],
  LOCK_FAILED: [503, "The idempotency store cannot take this request"],
  STORE_UNAVAILABLE: [503, "The idempotency store is unavailable"],
  DRAINING: [503, "This server is shutting down"],
  NOT_FOUND: [404, "No response is stored for this %"],
  OPTIONS_INVALID: [500, "The service is misconfigured"],
};

/** What a store says of its failures is for operators, who get it by `onError`: it may name hosts and servers. */
const STORE_DETAIL =
  "The service cannot tell right now whether this request was handled before. Retry with the same key.";
const DETAILS: Partial<Record<ErrorCode, string>> = {
  LOCK_FAILED: STORE_DETAIL,
  STORE_UNAVAILABLE: STORE_DETAIL,
};

export const ERROR_CODES = Object.keys(PROBLEMS) as readonly ErrorCode[];

/** The answer to a refused request. */
export function problemFor(
  error: IdempotencyError,
  options: ProblemOptions & { readonly headerName: string },
): Problem {
  const { headerName, docsUrl, statusCodes } = options;
  const [defaultStatus, title] = PROBLEMS[error.code];
  const statusCode = statusCodes[error.code] ?? defaultStatus;
  const body = {
    type: typeOf(error.code, docsUrl),
    title: title.replace("%", headerName),
    status: statusCode,
    detail: DETAILS[error.code] ?? error.message,
    code: error.code,
  };
  return {
    statusCode,
    headers: [
      ["Content-Type", "application/problem+json"],
      ["Content-Language", "en"],
      // RFC 9111 section 5.2.2.5: an answer to this attempt must never answer the next one.
      ["Cache-Control", "no-store"],
      ["Link", `<${docsUrl}>; rel="describedby"`],
      ...retryAfter(error.retryAfterMs),
    ],
    body: Buffer.from(JSON.stringify(body)),
  };
}

/** A service's own page has a section for each code; the draft has none, so types are plain names there. */
function typeOf(code: ErrorCode, docsUrl: string): string {
  const slug = code.toLowerCase().replaceAll("_", "-");
  return docsUrl === DEFAULT_DOCS_URL
    ? `urn:problem-type:idempotency-kit:${slug}`
    : `${docsUrl}#${slug}`;
}

/** RFC 9110 section 10.2.3: whole seconds, so round up; 0 would mean at once. */
function retryAfter(retryAfterMs: number | undefined): HeaderFields {
  if (retryAfterMs === undefined) return [];
  return [["Retry-After", String(Math.max(1, Math.ceil(retryAfterMs / 1000)))]];
}
