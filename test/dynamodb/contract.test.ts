/** The store contract on DynamoDB Local, which is the real engine. */
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, it, vi } from "vitest";
import { startDynamodb, type DynamodbLocal } from "../../infra/services/dynamodb.js";
import { storeContract } from "../../src/testing.js";
import { createTable, dynamodbStore } from "../../stores/dynamodb.js";
import { PATIENT } from "./stage.js";

// Most tests wait for a lease to end.
vi.setConfig({ maxConcurrency: 20, hookTimeout: 120_000 });
const runner = { describe: describe.concurrent, it: it.concurrent };

/** How late the store notices an end, and how exactly it knows DynamoDB's time before it has heard many replies. */
const CLOCK_SKEW_MS = 500;
const LATE_MS = CLOCK_SKEW_MS + 1_000;

let server: DynamodbLocal;
const tableName = randomUUID();

beforeAll(async () => {
  server = await startDynamodb();
  await createTable({ tableName, endpoint: server.url, region: "us-east-1" });
});
afterAll(() => server.close());

storeContract(
  "dynamodb",
  () => ({
    store: dynamodbStore({
      tableName,
      endpoint: server.url,
      region: "us-east-1",
      clockSkewMs: CLOCK_SKEW_MS,
      ...PATIENT,
    }),
    elapse: (ms) => sleep(ms + LATE_MS),
  }),
  runner,
);
