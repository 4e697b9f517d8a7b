/** Who a request is: its key and fingerprint as stores know them. The same for every front door. */
import { IdempotencyError } from "../errors.js";
import { fingerprint as defaultFingerprint } from "./fingerprint.js";
import {
  DEFAULT_HEADER_NAME,
  MAX_KEY_LENGTH,
  sha256,
  storageKey,
  type KeyedRequest,
} from "../key.js";
import { callback, custom, flag, integer, type OptionRules } from "../options.js";

/** `Original` is the request as the front door got it: an `IncomingMessage`, a Lambda event. */
export interface IdentityOptions<Original> {
  /** Header field that carries the key. Default: `"Idempotency-Key"`. */
  readonly headerName: string;
  /** Refuse requests without a key (400) instead of passing them through. Default: `false`. */
  readonly required: boolean;
  /** Longest key accepted, in characters. Default: `255`, as Stripe's. */
  readonly maxKeyLength: number;
  /** Makes another key of the client's, for example `fingerprintedKey`. Default: the client's key. */
  readonly keyFunc: (request: KeyedRequest, original: Original) => string | Promise<string>;
  /**
   * Whose key it is, for example the authenticated tenant: the same key of two scopes is two keys. A request without
   * a scope is refused (400) where this option is given. Default: one scope for all.
   */
  readonly scope:
    | ((original: Original) => string | undefined | Promise<string | undefined>)
    | undefined;
  /**
   * What makes two requests the same; another fingerprint under a used key is refused (422).
   * Default: method, URL with query, and body; JSON by content, multipart without its boundary.
   */
  readonly fingerprint:
    | ((request: KeyedRequest, original: Original) => string | Promise<string>)
    | undefined;
}

export interface Identity {
  /** The client's key, or what `keyFunc` made of it. */
  readonly clientKey: string;
  /** Hashed with its scope: what stores see. */
  readonly key: string;
  readonly fingerprint: string;
}

/** RFC 9110 section 5.6.2. */
const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;

export function identityRules<Original>(): OptionRules<IdentityOptions<Original>> {
  return {
    headerName: custom(
      DEFAULT_HEADER_NAME,
      "a header field name",
      (name) => typeof name === "string" && TOKEN.test(name),
    ),
    required: flag(false),
    maxKeyLength: integer(MAX_KEY_LENGTH, 1, 8_192),
    keyFunc: callback(({ key }) => key),
    scope: callback(undefined),
    fingerprint: callback(undefined),
  };
}

/**
 * @throws {IdempotencyError} `SCOPE_MISSING` or `KEY_INVALID` where a function given as an option found none;
 * whatever those functions throw passes through.
 */
export async function identify<Original>(
  request: KeyedRequest,
  original: Original,
  options: IdentityOptions<Original>,
): Promise<Identity> {
  const scope = options.scope && (await options.scope(original));
  if (options.scope !== undefined && !isText(scope)) {
    throw new IdempotencyError(
      "SCOPE_MISSING",
      "The service could not tell whose key this is. Authenticate, or name the tenant, and retry.",
    );
  }
  const made = options.keyFunc(request, original);
  // Most are there at once, and every turn of the microtask queue costs time.
  const clientKey = isText(made) ? made : await made;
  if (!isText(clientKey)) {
    // Hashing nothing would give all such requests one key.
    throw new IdempotencyError("KEY_INVALID", "No key could be made of this request.");
  }
  const keyed = clientKey === request.key ? request : { ...request, key: clientKey };
  const fingerprint =
    options.fingerprint === undefined
      ? defaultFingerprint(keyed)
      : customFingerprint(clientKey, await options.fingerprint(keyed, original));
  return { clientKey, key: storageKey(clientKey, scope), fingerprint };
}

function customFingerprint(key: string, text: unknown): string {
  if (isText(text)) return sha256("custom-fingerprint", [key, text]);
  throw new IdempotencyError("KEY_INVALID", "No fingerprint could be made of this request.");
}

function isText(value: unknown): value is string {
  return typeof value === "string" && value !== "";
}
