/** The store contract on DynamoDB Local, which is the real engine. */
import { DynamoDBDocumentClient } from "@aws-sdk/lib-dynamodb";
import { afterAll, beforeAll, vi } from "vitest";
import { storeContract } from "../../src/testing.js";
import { clientOf, openStage, REGION, runner, underTest, type Stage } from "./stage.js";

// Most tests wait for a lease to end: they may do that together.
vi.setConfig({ maxConcurrency: 8, hookTimeout: 120_000, testTimeout: 60_000 });

let stage: Stage;

beforeAll(async () => {
  stage = await openStage();
});
afterAll(() => stage.close());

storeContract(
  "C6: a client of the store's own",
  () => underTest(stage, { region: REGION, endpoint: stage.server.url }),
  runner,
);

storeContract(
  "a document client that is given, a prefix, every record in chunks",
  () =>
    underTest(stage, {
      client: DynamoDBDocumentClient.from(clientOf(stage.server.url)),
      prefix: "app#",
      maxInlineBytes: 0,
    }),
  runner,
);
