import { DynamoDBPersistenceLayer } from "@aws-lambda-powertools/idempotency/dynamodb";
import { commands, dynamodb, TABLE } from "./dynamodb.mjs";
import { powertools } from "./powertools.mjs";
import { serve } from "./subject.mjs";

const store = new DynamoDBPersistenceLayer({ tableName: TABLE, awsSdkV3Client: dynamodb });
// Its own attribute for the expiry is a number of seconds, as the table's TTL wants it.
serve(powertools(store), { commands });
