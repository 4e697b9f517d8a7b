/** The store in one DynamoDB table: conditional writes, native TTL, and no server of your own. */
import { randomUUID } from "node:crypto";
import type { Store } from "../src/store.js";
import { Calls, type Deadline } from "./dynamodb/calls.js";
import { Chunks } from "./dynamodb/chunks.js";
import { lockError, storeError } from "./dynamodb/errors.js";
import {
  parseStoreOptions,
  parseTableOptions,
  type DynamodbOptions,
  type TableOptions,
} from "./dynamodb/options.js";
import { Records } from "./dynamodb/records.js";
import { Register } from "./dynamodb/register.js";
import { ensureTable } from "./dynamodb/table.js";

export type { DynamodbClient } from "./dynamodb/calls.js";
export type { DynamodbOptions, TableOptions } from "./dynamodb/options.js";

/**
 * Keeps leases and records in one DynamoDB table, one item per key.
 *
 * @throws {OptionsError} for options that cannot work.
 * @example
 * ```ts
 * import { idempotency } from "idempotency-kit";
 * import { dynamodbStore } from "idempotency-kit/dynamodb";
 *
 * const protect = idempotency(dynamodbStore({ tableName: "idempotency" }));
 * ```
 */
export function dynamodbStore(options: DynamodbOptions): Store {
  const settings = parseStoreOptions(options);
  const calls = new Calls(settings);
  const register = new Register(calls, settings);
  const records = new Records(new Chunks(calls, settings), register, settings);

  /** Each verb has one deadline for all that it has to ask. */
  const within = <T>(verb: (deadline: Deadline) => Promise<T>): Promise<T> =>
    verb(calls.deadline()).catch((error: unknown) => {
      throw storeError(error);
    });

  return {
    get: (key) =>
      within(async (deadline) => {
        const found = await register.read(key, deadline);
        return found?.kind === "completed" ? await records.read(key, found, deadline) : undefined;
      }),

    lock: (key, fingerprint, leaseMs) =>
      within(async (deadline) => {
        const validUntil = performance.now() + leaseMs;
        const lease = { key, token: randomUUID(), fingerprint, validUntil };
        const claim = register.claim(lease, fingerprint, leaseMs, deadline);
        const found = await claim.catch((error: unknown) => {
          // It may have been granted all the same. Nobody will use that, and it would block the key for a whole lease.
          register.release(lease, calls.deadline()).catch(() => undefined);
          throw lockError(error);
        });
        if (found.kind === "completed") {
          return { state: "completed", response: await records.read(key, found, deadline) };
        }
        if (found.token !== lease.token) {
          const retryAfterMs = register.restOf(found);
          return { state: "in-progress", fingerprint: found.fingerprint, retryAfterMs };
        }
        return { state: "acquired", lease, ...(found.takeover ? { takeover: true } : {}) };
      }),

    extend: (lease, leaseMs) => within((deadline) => register.extend(lease, leaseMs, deadline)),

    set: (lease, response, ttlMs) =>
      within(async (deadline) => {
        const endsAt = await register.endOf(lease.key, ttlMs, deadline);
        const record = await records.write(lease, response, endsAt, deadline);
        const found = await register.complete(lease, record, endsAt, deadline);
        if (found === "completed") return { state: "stored" };
        if (found.kind === "held") return { state: "lost" };
        return { state: "lost", winner: await records.read(lease.key, found, deadline) };
      }),

    unlock: (lease) => within((deadline) => register.release(lease, deadline)),

    delete: (key) => within((deadline) => register.delete(key, deadline)),

    close: async () => calls.close(),
  };
}

/**
 * Makes sure that the table exists, is active and deletes what is over: creates it with on-demand billing where it does
 * not exist, turns TTL on, and changes nothing else. For development and tests; `infra/table.yml` is for deployment.
 *
 * @returns Whether it was created or there already.
 * @throws {OptionsError} for options that cannot work, and for a table whose key or TTL attribute is another.
 * @throws {StoreUnavailableError} where DynamoDB failed or refused.
 * @example
 * ```ts
 * import { createTable } from "idempotency-kit/dynamodb";
 *
 * await createTable({ tableName: "idempotency", endpoint: "http://localhost:8000", region: "us-east-1" });
 * ```
 */
export async function createTable(options: TableOptions): Promise<"created" | "found"> {
  return await ensureTable(parseTableOptions(options));
}
