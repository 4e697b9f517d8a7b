/** The store in one DynamoDB table: conditional writes, native TTL, and no server of your own. */
import { randomUUID } from "node:crypto";
import type { Lease, SetResult, Store } from "../src/store.js";
import { Calls, type Deadline } from "./dynamodb/calls.js";
import { Chunks } from "./dynamodb/chunks.js";
import { lockError, storeError } from "./dynamodb/errors.js";
import {
  parseStoreOptions,
  parseTableOptions,
  type DynamodbOptions,
  type TableOptions,
} from "./dynamodb/options.js";
import type { Found } from "./dynamodb/item.js";
import { Records } from "./dynamodb/records.js";
import { Register } from "./dynamodb/register.js";
import { sweepTable, type SweepOptions, type Swept } from "./dynamodb/sweep.js";
import { ensureTable } from "./dynamodb/table.js";
import { transact } from "./dynamodb/transaction.js";
import { checkedWrites } from "./dynamodb/writes.js";

export type { DynamodbClient } from "./dynamodb/client.js";
export type { DynamodbOptions, TableOptions } from "./dynamodb/options.js";
export type { SweepOptions, Swept } from "./dynamodb/sweep.js";

export interface DynamodbStore extends Store {
  /**
   * Deletes items that have been over for a while, for tables without TTL. It reads the whole table, page by page, so run
   * it now and then, from one place; stopped by `limitMs` it says where to go on.
   */
  sweep(options?: SweepOptions): Promise<Swept>;
}

/**
 * Keeps leases and records in one DynamoDB table, one item per key; every transition is one conditional write. A fresh
 * request costs two round trips (claim, record), a replay one, and each one more where the response is large.
 *
 * Within a Region what was stored is there for every reader. Leases and records end by DynamoDB's time, which the store
 * reads from the dates of its replies (a new store asks for it once): not by the clock of its process.
 *
 * A claim whose reply was lost is recognised by its token when it is repeated, and given back in the background where
 * nobody waits for it any more. Global tables with eventual consistency are not safe: two Regions can both claim a key.
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
export function dynamodbStore(options: DynamodbOptions): DynamodbStore {
  const settings = parseStoreOptions(options);
  const calls = new Calls(settings);
  const register = new Register(calls, settings);
  const records = new Records(new Chunks(calls, settings), register, settings);

  /** Each verb has one deadline for all that it has to ask. */
  const within = <T>(verb: (deadline: Deadline) => Promise<T>): Promise<T> =>
    verb(calls.deadline()).catch((error: unknown) => {
      throw storeError(error);
    });

  const setResult = async (
    { key, token }: Lease,
    standing: "completed" | "lapsed" | Found | undefined,
    deadline: Deadline,
  ): Promise<SetResult> => {
    if (standing === "completed") return { state: "stored" };
    if (standing === "lapsed") return { state: "stored", lapsed: true };
    if (standing?.kind !== "completed") return { state: "lost" };
    // A record under the own token was stored by an attempt that was not heard of.
    if (standing.token === token) return { state: "stored" };
    return { state: "lost", winner: await records.read(key, standing, deadline) };
  };

  const commit: NonNullable<Store["commit"]> = (lease, response, ttlMs, writes) =>
    within(async (deadline) => {
      const items = checkedWrites(writes);
      const endsAt = await register.endOf(lease.key, ttlMs, deadline);
      const record = await records.write(lease, response, endsAt, deadline);
      const put = register.completion(lease, record, endsAt);
      const standing = await transact(calls, put, items, deadline);
      return await setResult(lease, standing, deadline);
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
        const standing = await register.complete(lease, record, endsAt, deadline);
        return await setResult(lease, standing, deadline);
      }),

    ...(settings.expiry === "ttl" ? { commit } : {}),

    unlock: (lease) => within((deadline) => register.release(lease, deadline)),

    delete: (key) => within((deadline) => register.delete(key, deadline)),

    sweep: (given) => within(() => sweepTable(calls, register, settings, given)),

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
