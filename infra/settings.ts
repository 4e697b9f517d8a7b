/** What the environment says about how to run the server, checked as a whole before anything starts. */
import { DEFAULT_TTL_MS, type Store } from "../src/index.js";
import { memoryStore } from "../stores/memory.js";

export interface Settings {
  readonly host: string;
  readonly port: number;
  readonly leaseMs: number;
  readonly ttlMs: number;
  readonly store: Store;
}

export type ParsedSettings =
  | { readonly ok: true; readonly settings: Settings }
  | { readonly ok: false; readonly mistakes: readonly string[] };

/** An empty variable counts as one that is not set, as in shells. */
export function parseSettings(env: NodeJS.ProcessEnv): ParsedSettings {
  const mistakes: string[] = [];
  const integer = (name: string, fallback: number, min: number, max: number): number => {
    const text = env[name] || String(fallback);
    const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
    if (value >= min && value <= max) return value;
    mistakes.push(`${name} must be an integer from ${min} to ${max}, got '${text.slice(0, 40)}'`);
    return Number.NaN;
  };
  const port = integer("PORT", 3000, 0, 65_535);
  const leaseMs = integer("LEASE_MS", 10_000, 100, 600_000);
  const ttlMs = integer("TTL_MS", DEFAULT_TTL_MS, 100, 365 * 24 * 60 * 60 * 1000);
  if (leaseMs > ttlMs) mistakes.push(`LEASE_MS (${leaseMs}) must not exceed TTL_MS (${ttlMs})`);
  const store = storeFor(env["IDEMPOTENCY_STORE"] || "memory:");
  if (store === undefined) {
    // Not repeated: the URL of a store may hold a password.
    mistakes.push("IDEMPOTENCY_STORE must be 'memory:', the only store so far");
  }
  if (store === undefined || mistakes.length > 0) return { ok: false, mistakes };
  const host = env["HOST"] || "127.0.0.1";
  return { ok: true, settings: { host, port, leaseMs, ttlMs, store } };
}

function storeFor(url: string): Store | undefined {
  return url === "memory:" ? memoryStore() : undefined;
}
