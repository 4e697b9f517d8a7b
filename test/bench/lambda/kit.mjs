import { idempotentHandler } from "../../../dist/src/lambda.js";
import { dynamodbStore } from "../../../dist/stores/dynamodb.js";

export const handler = idempotentHandler(
  async () => ({ statusCode: 201, body: "{}" }),
  dynamodbStore({ tableName: "idempotency" }),
  { required: true },
);
