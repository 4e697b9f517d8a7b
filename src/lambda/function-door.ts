/** Any function whose calls have a key: queue records, events, jobs. */
import { IdempotencyError } from "../errors.js";
import { ExecutionContext } from "../idempotency/context.js";
import { protocolRelations, protocolRules, type ProtocolOptions } from "../idempotency/options.js";
import { Protocol, type Outcome } from "../idempotency.js";
import { sha256 } from "../key.js";
import type { Identity } from "../key/identity.js";
import { callback, custom, integer, type Given, type OptionRules } from "../options.js";
import type { RecordedResponse, Store } from "../store.js";
import { invocationDeadline, isLambdaContext, withIdempotency } from "./context.js";
import { committable, type Recording } from "./result.js";
import { fromJson, toJson } from "./json.js";

type MaybePromise<T> = T | Promise<T>;

/** `Args` are the arguments of the function. */
export interface FunctionOptions<Args extends readonly unknown[]> extends Omit<
  ProtocolOptions,
  "shouldStore" | "storeHeaders"
> {
  /**
   * What the function does, unique among all that share a store: the same key of two names is two keys. Required, and to
   * be kept: under another name, calls that ran would run again.
   */
  readonly name: string;
  /** The key of a call. Required. A call without one (`undefined` or empty) is an error, `KEY_MISSING`. */
  readonly key: (...args: Args) => MaybePromise<string | undefined>;
  /** Whose key it is, for example the tenant: the same key of two scopes is two keys. Default: one scope for all. */
  readonly scope: ((...args: Args) => MaybePromise<string | undefined>) | undefined;
  /** What must be the same in all calls of one key; another is an error, `KEY_REUSED`. Default: nothing but the key. */
  readonly fingerprint: ((...args: Args) => MaybePromise<string>) | undefined;
  /**
   * Longest result that is kept, in bytes of JSON. A longer one is returned once and leaves a tombstone: later calls fail
   * with `RESPONSE_NOT_KEPT` and do not run. Default: 1 MiB.
   */
  readonly maxResponseBytes: number;
}

/** Options as users write them: `name` and `key`, and what else differs from its default. */
export type GivenFunctionOptions<Args extends readonly unknown[]> = Given<
  Omit<FunctionOptions<Args>, "name" | "key">
> &
  Pick<FunctionOptions<Args>, "name" | "key">;

const MIB = 1024 * 1024;

export function functionRules<Args extends readonly unknown[]>(
  given: Given<FunctionOptions<Args>> | undefined,
): OptionRules<FunctionOptions<Args>> {
  const { shouldStore: _, storeHeaders: __, ...rules } = protocolRules(given);
  return {
    ...rules,
    name: custom("", "a text, unique among the functions of one store", isText),
    key: callback(() => undefined),
    scope: callback(undefined),
    fingerprint: callback(undefined),
    maxResponseBytes: integer(MIB, 0, 1024 * MIB),
  };
}

/** @param given As the user wrote them: what is required has no default that could stand for it. */
export function* functionRelations(
  given: Given<FunctionOptions<never>> | undefined,
  options: FunctionOptions<never>,
): Iterable<string> {
  if (given?.name === undefined) yield "name is required: say what the function does";
  if (given?.key === undefined) yield "key is required: a function of the arguments";
  yield* protocolRelations({ ...options, ...RESULTS });
}

/** What a function returns is its result, whatever it says: only what it throws is none. */
const RESULTS = { shouldStore: () => true, storeHeaders: [] };

const SUCCESS = 200;

export class FunctionDoor<Args extends readonly unknown[]> {
  readonly #options: FunctionOptions<Args>;
  readonly #protocol: Protocol;

  constructor(store: Store, options: FunctionOptions<Args>) {
    this.#options = options;
    this.#protocol = new Protocol(store, { ...options, ...RESULTS });
  }

  /** Answers one call; `fn` is called once at most. */
  async call(args: Args, fn: (...args: Args) => unknown): Promise<unknown> {
    const deadline = invocationDeadline(args.find(isLambdaContext));
    const identity = await this.#identify(args);
    const { key, fingerprint } = identity;
    let recording: Recording | undefined;
    let committed: Recording | undefined;
    const outcome = await this.#protocol.run({ key, fingerprint, deadline }, async (execution) => {
      const idempotency = new ExecutionContext(identity, execution, (result: unknown) => {
        committed = this.#recordingOf(result);
        return committable(committed);
      });
      const seen = args.map((arg) =>
        isLambdaContext(arg) ? withIdempotency(arg, idempotency) : arg,
      ) as unknown as Args;
      recording = this.#recordingOf(await fn(...seen));
      return recording.recorded;
    });
    if (outcome.kind === "unprotected") return await fn(...args);
    if (outcome.kind !== "executed") return resultOf(outcome);
    const kept = outcome.committed === undefined ? recording : committed;
    if (kept?.flaw !== undefined) throw notKept(kept.flaw);
    return fromJson(String(kept?.answer));
  }

  /** Its answer is the result as JSON. */
  #recordingOf(result: unknown): Recording {
    const json = toJson(result);
    if (!json.ok) {
      const recorded = { ...EMPTY, tombstone: "not-storable" } as const;
      return { recorded, answer: undefined, flaw: json.why };
    }
    const body = Buffer.from(json.text);
    const isTooLarge = body.byteLength > this.#options.maxResponseBytes;
    const recorded = isTooLarge
      ? ({ ...EMPTY, tombstone: "too-large" } as const)
      : { ...EMPTY, body };
    return { recorded, answer: json.text };
  }

  async #identify(args: Args): Promise<Identity> {
    const { name, key: keyOf, scope: scopeOf, fingerprint: fingerprintOf } = this.#options;
    const clientKey = await keyOf(...args);
    if (!isText(clientKey)) {
      throw new IdempotencyError(
        "KEY_MISSING",
        `The call of '${name}' has no key: the option \`key\` found none in its arguments. It was not run.`,
      );
    }
    const scope = await scopeOf?.(...args);
    if (scopeOf !== undefined && !isText(scope)) {
      throw new IdempotencyError(
        "SCOPE_MISSING",
        `The call of '${name}' has no scope: the option \`scope\` found none in its arguments. It was not run.`,
      );
    }
    // A purpose of its own: the keys of functions never meet those of requests.
    const key = sha256(
      "function",
      scope === undefined ? [name, clientKey] : [name, scope, clientKey],
    );
    const text = fingerprintOf === undefined ? "" : await fingerprintOf(...args);
    if (fingerprintOf !== undefined && !isText(text)) {
      throw new IdempotencyError(
        "KEY_INVALID",
        `The call of '${name}' has no fingerprint: the option \`fingerprint\` made none. It was not run.`,
      );
    }
    return { clientKey, key, fingerprint: sha256("function-fingerprint", [clientKey, text]) };
  }
}

const EMPTY: RecordedResponse = { statusCode: SUCCESS, headers: [], body: new Uint8Array(0) };

/** A copy for every caller, as for the first: what one does to it is no other's concern. */
function resultOf(outcome: Exclude<Outcome, { kind: "unprotected" | "executed" }>): unknown {
  switch (outcome.kind) {
    case "replayed":
      return fromJson(Buffer.from(outcome.response.body).toString());
    case "refused":
    case "failed":
      throw outcome.error;
    default:
      throw new Error(`Bug! Unknown outcome ${JSON.stringify(outcome satisfies never)}`);
  }
}

function notKept(flaw: string): IdempotencyError {
  return new IdempotencyError(
    "RESPONSE_NOT_KEPT",
    `The function ran, but its result could not be kept: ${flaw}. Return what JSON gives back as it was. ` +
      "The call is not run again.",
  );
}

function isText(value: unknown): value is string {
  return typeof value === "string" && value !== "";
}
