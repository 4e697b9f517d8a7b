import { IdempotencyConfig, makeIdempotent } from "@aws-lambda-powertools/idempotency";
import { DynamoDBPersistenceLayer } from "@aws-lambda-powertools/idempotency/dynamodb";

export const handler = makeIdempotent(async () => ({ statusCode: 201, body: "{}" }), {
  persistenceStore: new DynamoDBPersistenceLayer({ tableName: "idempotency" }),
  config: new IdempotencyConfig({ eventKeyJmesPath: 'headers."Idempotency-Key"' }),
});
