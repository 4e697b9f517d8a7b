/** The variables, and what may be in them. An option's variable has its name: `leaseMs` is `IDEMPOTENCY_LEASE_MS`. */
import { protocolRules, type ProtocolOptions } from "../../src/idempotency/options.js";
import { identityRules, type IdentityOptions } from "../../src/key/identity.js";
import {
  custom,
  durationMs,
  flag,
  integer,
  type Given,
  type OptionRule,
} from "../../src/options.js";

/** Options of the middleware that differ between environments; the others belong to the code. */
type MiddlewareVariables = Pick<
  ProtocolOptions & IdentityOptions<never>,
  | "ttlMs"
  | "leaseMs"
  | "storeTimeoutMs"
  | "maxHandlingMs"
  | "onConflict"
  | "maxWaitMs"
  | "onStoreFailure"
  | "required"
  | "headerName"
>;

interface StoreVariables {
  /** What every key begins with: Redis, Redlock, DynamoDB. */
  readonly prefix: string;
  /** As `minReplicas` of `redisStore`. */
  readonly minReplicas: number;
  /** As `nodeTimeoutMs` of `redlockStore`. */
  readonly nodeTimeoutMs: number;
  /** `memory:` where several processes are likely: in production, in Lambda. */
  readonly allowMemory: boolean;
}

/** What the environment says; what it leaves open is left out. */
export type MiddlewareOptions = Given<MiddlewareVariables>;
export type StoreOptions = Given<StoreVariables>;

export interface Variable<T> {
  readonly rule: OptionRule<T>;
  /** The option's value; the text itself where it is none, which the rule then refuses. */
  readonly read: (text: string) => unknown;
}

type Variables<T> = { readonly [K in keyof T]-?: Variable<T[K]> };

const protocol = protocolRules();
const identity = identityRules<never>();

export const MIDDLEWARE: Variables<MiddlewareVariables> = {
  ttlMs: { rule: protocol.ttlMs, read: numeral },
  leaseMs: { rule: protocol.leaseMs, read: numeral },
  storeTimeoutMs: { rule: protocol.storeTimeoutMs, read: numeral },
  maxHandlingMs: { rule: protocol.maxHandlingMs, read: numeral },
  onConflict: { rule: protocol.onConflict, read: String },
  maxWaitMs: { rule: protocol.maxWaitMs, read: numeral },
  onStoreFailure: { rule: protocol.onStoreFailure, read: String },
  required: { rule: identity.required, read: yesOrNo },
  headerName: { rule: identity.headerName, read: String },
};

export const STORE: Variables<StoreVariables> = {
  prefix: {
    rule: custom("", "visible ASCII without spaces", (text) => /^[!-~]+$/.test(String(text))),
    read: String,
  },
  minReplicas: { rule: integer(0, 0, 100), read: numeral },
  nodeTimeoutMs: { rule: durationMs(500), read: numeral },
  allowMemory: { rule: flag(false), read: yesOrNo },
};

/** Which stores heed an option of theirs; the others have no use for it. */
export const HEEDED_BY: Readonly<Record<keyof StoreVariables, readonly string[]>> = {
  prefix: ["redis", "redlock", "dynamodb"],
  minReplicas: ["redis"],
  nodeTimeoutMs: ["redlock"],
  allowMemory: ["memory"],
};

const PREFIX = "IDEMPOTENCY_";

export const STORE_VARIABLE = `${PREFIX}STORE`;

export function variableOf(option: string): string {
  return PREFIX + option.replaceAll(/(?=[A-Z])/g, "_").toUpperCase();
}

export const VARIABLES: readonly string[] = [
  STORE_VARIABLE,
  ...[...Object.keys(STORE), ...Object.keys(MIDDLEWARE)].map(variableOf),
];

/** In a sentence about options, their variables instead. */
export function inVariables(sentence: string): string {
  return sentence.replaceAll(/\b[a-z][A-Za-z]*\b/g, (word) =>
    Object.hasOwn(STORE, word) || Object.hasOwn(MIDDLEWARE, word) ? variableOf(word) : word,
  );
}

/**
 * What Kubernetes tells every container about a service whose name begins with "idempotency": nobody's mistake.
 * `X_SERVICE_HOST`, `X_SERVICE_PORT_HTTP`, `X_PORT`, `X_PORT_6379_TCP_ADDR`.
 */
const SERVICE_LINK = /_SERVICE_(HOST|PORT(_[A-Z\d_]+)?)$|_PORT(_\d+_(TCP|UDP|SCTP)(_[A-Z]+)?)?$/;

/** Variables that look like the kit's and are not. An empty one is unset, as in shells. */
export function unknownVariables(env: NodeJS.ProcessEnv): string[] {
  return Object.keys(env).filter(
    (name) =>
      name.startsWith(PREFIX) && env[name] && !VARIABLES.includes(name) && !SERVICE_LINK.test(name),
  );
}

function numeral(text: string): unknown {
  return /^\d{1,15}$/.test(text) ? Number(text) : text;
}

function yesOrNo(text: string): unknown {
  return { "1": true, true: true, "0": false, false: false }[text.toLowerCase()] ?? text;
}
