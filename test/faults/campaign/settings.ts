/** What a server process is told when it starts. */
export interface ServerSettings {
  /** One of `STORES`. */
  readonly store: string;
  /** Of nodes, as this process sees them: through its own proxies. */
  readonly urls: readonly string[];
  /** Of DynamoDB. */
  readonly tableName: string;
  /** For nodes that tell each other's addresses: by their real one, the port of this process's proxy. */
  readonly ports: Readonly<Record<string, number>>;
  /** The path of its journal. */
  readonly journal: string;
  readonly leaseMs: number;
  readonly ttlMs: number;
  readonly maxHandlingMs: number;
  readonly maxResponseBytes: number;
  readonly onConflict: "reject" | "wait";
  readonly maxWaitMs: number;
  /** For the memory store: how many keys it has room for, where that is to be few. */
  readonly maxEntries: number | undefined;
}

const VARIABLE = "CAMPAIGN_SERVER";

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
