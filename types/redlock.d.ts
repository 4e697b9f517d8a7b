/** What the kit uses of redlock 5.0.0-beta.2, whose `exports` hide its own declarations from TypeScript. */
declare module "redlock" {
  /** Anything that runs a script by hash or text, and answers with the number of keys that it applied to. */
  export interface ScriptClient {
    evalsha(sha: string, keys: number, args: readonly (string | number)[]): Promise<number>;
    eval(lua: string, keys: number, args: readonly (string | number)[]): Promise<number>;
  }

  export interface Settings {
    readonly driftFactor?: number;
    readonly retryCount?: number;
  }

  export interface ExecutionStats {
    readonly votesFor: ReadonlySet<ScriptClient>;
    readonly votesAgainst: ReadonlyMap<ScriptClient, Error>;
  }

  export interface ExecutionResult {
    /** Each resolves when all votes of that attempt are in. */
    readonly attempts: readonly Promise<ExecutionStats>[];
  }

  export class ExecutionError extends Error {
    readonly attempts: readonly Promise<ExecutionStats>[];
  }

  export class Lock {
    constructor(
      redlock: Redlock,
      resources: string[],
      value: string,
      attempts: Promise<ExecutionStats>[],
      expiration: number,
    );
    readonly value: string;
    readonly attempts: readonly Promise<ExecutionStats>[];
  }

  export default class Redlock {
    constructor(
      clients: Iterable<ScriptClient>,
      settings?: Settings,
      scripts?: Partial<
        Record<"acquireScript" | "extendScript" | "releaseScript", (stock: string) => string>
      >,
    );
    acquire(resources: string[], durationMs: number): Promise<Lock>;
    extend(lock: Lock, durationMs: number): Promise<Lock>;
    release(lock: Lock): Promise<ExecutionResult>;
    /** A new token. */
    protected _random(): string;
  }
}
