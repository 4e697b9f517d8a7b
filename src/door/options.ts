/** The options of a front door for HTTP requests: the protocol's, the key's, and those of its answers. */
import { METHODS } from "node:http";
import { identityRules, type IdentityOptions } from "../key/identity.js";
import {
  callback,
  custom,
  integer,
  parseOptions,
  type Given,
  type OptionRules,
} from "../options.js";
import { DEFAULT_DOCS_URL, ERROR_CODES, type ProblemOptions } from "../problem.js";
import { protocolRelations, protocolRules, type ProtocolOptions } from "../idempotency/options.js";
import type { CachedResponse } from "../store.js";

/** `Original` is the request as the front door got it: an `IncomingMessage`, a Lambda event. */
export interface DoorOptions<Original>
  extends ProtocolOptions, IdentityOptions<Original>, ProblemOptions {
  /** Methods whose requests are made safe; all others pass untouched. Default: `["POST", "PUT", "PATCH"]`. */
  readonly methods: readonly string[];
  /** Longest request body, in bytes; a longer one is refused (413). Default: `1_048_576`, 1 MiB. */
  readonly maxBodyBytes: number;
  /**
   * Longest response that is kept, in bytes. A longer one is sent as it comes, and leaves a tombstone: a retry is told
   * that the request was processed, and is not run again. Default: `1_048_576`, 1 MiB.
   */
  readonly maxResponseBytes: number;
  /** Header fields to add to a replay, for example its age. Status and body stay what they were. Default: none. */
  readonly onReplay: (
    response: CachedResponse,
    original: Original,
  ) => Readonly<Record<string, string>> | undefined;
  /**
   * Told of every error that made the kit answer 5xx: a store that failed, a handler that threw.
   * Default: `console.error`.
   */
  readonly onError: (error: unknown, original: Original) => void;
}

const MIB = 1024 * 1024;
const MAX_BYTES = 1024 * MIB;

export function doorRules<Original>(
  given?: Given<DoorOptions<Original>>,
): OptionRules<DoorOptions<Original>> {
  return {
    ...protocolRules(given),
    ...identityRules<Original>(),
    docsUrl: custom(DEFAULT_DOCS_URL, "an http or https URL, percent-encoded", isWebUrl),
    statusCodes: custom(
      {},
      `an object of error codes (${ERROR_CODES.join(", ")}) and statuses from 400 to 599`,
      isStatusCodes,
    ),
    methods: custom<readonly string[]>(
      ["POST", "PUT", "PATCH"],
      "an array of upper-case HTTP methods",
      (names) => Array.isArray(names) && names.every((name) => METHODS.includes(name as string)),
    ),
    maxBodyBytes: integer(MIB, 0, MAX_BYTES),
    maxResponseBytes: integer(MIB, 0, MAX_BYTES),
    onReplay: callback(() => undefined),
    onError: callback((error) => console.error(error)),
  };
}

/**
 * @param subject Whose options they are.
 * @throws {OptionsError} naming every mistake.
 */
export function parseDoorOptions<Original>(
  subject: string,
  given?: Given<DoorOptions<Original>>,
): DoorOptions<Original> {
  return parseOptions(subject, given, doorRules(given), protocolRelations);
}

/** RFC 3986, appendix C: what a URL never has in it, and what would end it within the angle brackets of `Link`. */
const WEB_URL = /^https?:[!-;=?-~]+$/i;

function isWebUrl(value: unknown): boolean {
  return typeof value === "string" && WEB_URL.test(value) && URL.canParse(value);
}

function isStatusCodes(value: unknown): boolean {
  return (
    typeof value === "object" &&
    value !== null &&
    Object.entries(value).every(
      ([code, status]) =>
        (ERROR_CODES as readonly string[]).includes(code) &&
        Number.isInteger(status) &&
        (status as number) >= 400 &&
        (status as number) <= 599,
    )
  );
}
