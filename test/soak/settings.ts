/** What the process under test is told, and what it is asked. */
import type { Sample } from "./sample.js";

export const STORES = ["memory", "redis", "redlock", "dynamodb"] as const;
export type StoreName = (typeof STORES)[number];

/** What can be made to leak on purpose, with every request. */
export const LEAKS = ["memory", "timer", "listener", "socket"] as const;
export type Leak = (typeof LEAKS)[number];

export interface ServerSettings {
  readonly store: StoreName;
  /** Of the store's nodes. */
  readonly urls: readonly string[];
  readonly leaks: readonly Leak[];
}

/** Over the channel between the processes. */
export type Question = "sample" | "drain";
export type Reply =
  | { readonly listening: number }
  | { readonly sample: Sample }
  | { readonly drained: true };

export const TABLE_NAME = "payments";

const VARIABLE = "SOAK_SERVER";

export function asEnvironment(settings: ServerSettings): Record<string, string> {
  return {
    [VARIABLE]: JSON.stringify(settings),
    // DynamoDB Local wants some, and checks none.
    AWS_ACCESS_KEY_ID: "anyone",
    AWS_SECRET_ACCESS_KEY: "anything",
  };
}

export function parseSettings(env: NodeJS.ProcessEnv): ServerSettings {
  return JSON.parse(env[VARIABLE] ?? "{}") as ServerSettings;
}
