/** A DynamoDB table by its URL. */
import { dynamodbStore } from "../dynamodb.js";
import { examineTable } from "../dynamodb/doctor.js";
import { listTable } from "../dynamodb/list.js";
import type { OpenStore } from "./open.js";
import type { StoreTarget } from "./target.js";
import type { StoreOptions } from "./variables.js";

type DynamodbTarget = Extract<StoreTarget, { readonly kind: "dynamodb" }>;

/** Never a key: those of requests are hashes. */
const NOBODYS_KEY = "reachable?";

/** Where no request waits for it, a whole page may be read, and a table that is throttled may take its time. */
const PATIENT = { timeoutMs: 15_000, requestTimeoutMs: 5_000 };

export function openDynamodb(
  { table, names }: DynamodbTarget,
  { prefix }: StoreOptions,
): OpenStore {
  const options = { ...table, prefix };
  const store = dynamodbStore(options);
  const [name = table.tableName] = names;
  return {
    store: { ...store, close: async () => await store.close?.() },
    // One read, which also makes the connection that the first request would have to wait for.
    unreachable: () =>
      store.get(NOBODYS_KEY).then(
        () => [],
        (error: unknown) => [`DynamoDB table ${name}: ${(error as Error).message}`],
      ),
    examine: async () => [{ node: name, ...(await examineTable(table)) }],
    list: (request) => listTable({ ...options, ...PATIENT }, request),
    sweep: async (given) => {
      const patient = dynamodbStore({ ...options, ...PATIENT });
      try {
        return await patient.sweep(given);
      } finally {
        await patient.close?.();
      }
    },
  };
}
