/** Every sender's events on DynamoDB Local, end to end. */
import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, vi } from "vitest";
import { startDynamodb, type DynamodbLocal } from "../../infra/services/dynamodb.js";
import { createTable, dynamodbStore } from "../../stores/dynamodb.js";
import { PATIENT } from "../dynamodb/stage.js";
import { lambdaSuite } from "./suite.js";

vi.setConfig({ hookTimeout: 120_000, testTimeout: 30_000 });

let server: DynamodbLocal;
const tableName = randomUUID();

beforeAll(async () => {
  server = await startDynamodb();
  await createTable({ tableName, endpoint: server.url, region: "us-east-1" });
});
afterAll(() => server.close());

lambdaSuite("in DynamoDB", () =>
  dynamodbStore({ tableName, endpoint: server.url, region: "us-east-1", ...PATIENT }),
);
