/** `idempotency-kit`: the middleware, its errors and events, and the types of the store contract. */
export {
  CommitRefusedError,
  IdempotencyError,
  LockFailedError,
  NotFoundError,
  OptionsError,
  RequestInProgressError,
  StoreUnavailableError,
  type ErrorCode,
} from "./errors.js";
export {
  EVENT_CHANNEL,
  HANDLER_CHANNEL,
  REQUEST_CHANNEL,
  STORE_CHANNEL,
  type HandlerTrace,
  type IdempotencyEvent,
  type LeaseLostReason,
  type RequestOutcome,
  type RequestTrace,
  type StoreTrace,
} from "./events.js";
export {
  idempotency,
  type IdempotencyContext,
  type IdempotencyMiddleware,
  type IdempotentRequest,
} from "./http.js";
export type { HttpOptions } from "./http/options.js";
export { DEFAULT_HEADER_NAME, fingerprintedKey, type KeyedRequest } from "./key.js";
export { DEFAULT_LEASE_MS, DEFAULT_TTL_MS, storeServerErrors } from "./idempotency/options.js";
export type {
  CachedResponse,
  HeaderFields,
  Lease,
  LockResult,
  RecordedResponse,
  SetResult,
  Store,
  TombstoneReason,
} from "./store.js";
