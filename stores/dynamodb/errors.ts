/** What went wrong at DynamoDB: whether to try again, and otherwise words for an operator, with no key or body in them. */
import { IdempotencyError, LockFailedError, StoreUnavailableError } from "../../src/errors.js";

/** Refused before it was executed, and likely to be taken a moment later. */
const RETRYABLE: ReadonlySet<string> = new Set([
  "InternalServerError",
  "LimitExceededException",
  "PriorRequestNotComplete",
  "ProvisionedThroughputExceededException",
  "ReplicatedWriteConflictException",
  "RequestLimitExceeded",
  "RequestThrottled",
  "RequestThrottledException",
  "SlowDown",
  "ThrottledException",
  "Throttling",
  "ThrottlingException",
  "TooManyRequestsException",
  "TransactionConflictException",
  "TransactionInProgressException",
]);

/** The SDK has no name for it. */
const NO_REGION = "Region is missing";

/** What an operator should do, by the name of the error, or its message where it has none. */
const ADVICE: readonly (readonly [RegExp, string])[] = [
  [/^Error: Region is missing/, "Set the option region, or AWS_REGION."],
  [
    /^ResourceNotFound/,
    "Create the table with createTable() or infra/table.yml, and check tableName and region.",
  ],
  [
    /^AccessDenied/,
    "Allow the role GetItem, PutItem, UpdateItem, DeleteItem and BatchGetItem on the table; Scan, to list or sweep it.",
  ],
  [
    /^Validation/,
    "Check that the table's key is one string attribute, named as keyAttribute says.",
  ],
  [
    /^(UnrecognizedClient|InvalidSignature|IncompleteSignature|MissingAuthenticationToken|ExpiredToken|CredentialsProvider)/,
    "Check the credentials of the client.",
  ],
  [
    /^TimeoutError/,
    "Check the network to DynamoDB and the source of the credentials; where both are just slow, raise requestTimeoutMs and timeoutMs.",
  ],
  [
    /\b(ECONNREFUSED|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|ENETUNREACH)\b/,
    "Check region and endpoint, and the network to them.",
  ],
  [/^TransactionCanceled/, "Other requests write the same items: a retry may succeed."],
  [
    /^\w*(Throttl|Throughput|RequestLimit)/,
    "Raise the table's capacity, or use on-demand billing; one key takes at most 1,000 writes a second.",
  ],
];

/** The parts of the SDK's errors that matter here. */
export interface SdkError extends Error {
  readonly $metadata?: {
    readonly httpStatusCode?: number;
    readonly attempts?: number;
    /** The reply's date tells that our clock is wrong: from now on the SDK signs by the server's. */
    readonly clockSkewCorrected?: boolean;
  };
  readonly $response?: { readonly statusCode?: number };
}

/**
 * Whether the same request may succeed when it is repeated. What has no status never got a reply, or half of one; it may
 * have been executed, which every request of this store allows for.
 */
export function isRetryable(error: SdkError): boolean {
  if (RETRYABLE.has(error.name)) return true;
  // Of any refusal the SDK says so where our clock is wrong, and only this one was due to it.
  if (error.name === "InvalidSignatureException")
    return error.$metadata?.clockSkewCorrected === true;
  if (error.message === NO_REGION) return false;
  if (/^(CredentialsProvider|Type|Range|Reference|Syntax)Error$/.test(error.name)) return false;
  const status = error.$metadata?.httpStatusCode ?? error.$response?.statusCode;
  return status === undefined || status < 400 || status >= 500;
}

/** The SDK hangs the reply on its errors, items and all, so they are not passed on: name and message are. */
export function storeError(error: unknown): IdempotencyError {
  // Of the kit's own making already.
  if (error instanceof IdempotencyError) return error;
  const { text, cause } = described(error);
  return new StoreUnavailableError(text, { cause });
}

/** A claim that DynamoDB refused for good was not executed; of every other failure that is unknown. */
export function lockError(error: unknown): IdempotencyError {
  if (error instanceof IdempotencyError || isRetryable(error as SdkError)) {
    return storeError(error);
  }
  const { text, cause } = described(error);
  return new LockFailedError(text, { cause });
}

function described(error: unknown): { text: string; cause: Error } {
  const { name = "Error", code } = error as Partial<Error & { code: string }>;
  // Where a host has several addresses, Node's error has no message of its own.
  const message = (error as Partial<Error>).message || code || String(error);
  const advice = ADVICE.find(([pattern]) => pattern.test(`${name}: ${message}`))?.[1] ?? "";
  const cause = Object.assign(new Error(message), { name });
  return {
    text: `DynamoDB failed: ${name}: ${message.replace(/\.$/, "")}. ${advice}`.trim(),
    cause,
  };
}
