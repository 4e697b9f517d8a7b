/** What became of one request, for its front door to carry out. */
import type { IdempotencyError } from "../errors.js";
import type { RequestTrace } from "../events.js";
import { keyReused, notKept } from "./refusals.js";
import type { CachedResponse, RecordedResponse } from "../store.js";

export type Outcome =
  /**
   * Send what was recorded. `stored`: it (or its tombstone) is committed. `committed`: send this instead, the handler
   * had it committed with writes of its own.
   */
  | {
      readonly kind: "executed";
      readonly stored: boolean;
      readonly committed?: RecordedResponse | undefined;
    }
  /** Send this instead of anything recorded. */
  | { readonly kind: "replayed"; readonly response: CachedResponse }
  /** Send a problem document. */
  | { readonly kind: "refused"; readonly error: IdempotencyError }
  /** The handler threw; the key is free again. */
  | { readonly kind: "failed"; readonly error: unknown }
  /** The store failed and `onStoreFailure` is 'execute': call the handler without any protection. */
  | { readonly kind: "unprotected" };

/** Answers from a record: what was stored, to the request that it was stored for. */
export function answerFrom(response: CachedResponse, fingerprint: string): Outcome {
  if (response.fingerprint !== fingerprint) return refused(keyReused());
  if (response.tombstone !== undefined) return refused(notKept(response));
  return { kind: "replayed", response };
}

export function refused(error: IdempotencyError): Outcome {
  return { kind: "refused", error };
}

export function traceOf(outcome: Outcome): Pick<RequestTrace, "outcome" | "code"> {
  switch (outcome.kind) {
    case "executed":
      return { outcome: outcome.stored ? "executed" : "released" };
    case "refused":
      return { outcome: "refused", code: outcome.error.code };
    case "replayed":
    case "failed":
    case "unprotected":
      return { outcome: outcome.kind };
    default:
      throw new Error(`Bug! Unknown outcome ${JSON.stringify(outcome satisfies never)}`);
  }
}
