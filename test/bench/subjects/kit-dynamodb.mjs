import { dynamodbStore } from "../../../dist/stores/dynamodb.js";
import { commands as counts, credentials, dynamodb, region, TABLE } from "./dynamodb.mjs";
import { protect } from "./kit.mjs";
import { handle, serve, services } from "./subject.mjs";

// The store's own client, as users have it, takes them from here.
process.env.AWS_ACCESS_KEY_ID = credentials.accessKeyId;
process.env.AWS_SECRET_ACCESS_KEY = credentials.secretAccessKey;
const own = { endpoint: services.dynamodb, region };
const client = process.env.BENCH_COUNT_UNITS ? { client: dynamodb } : own;

const { safe, commands } = protect(dynamodbStore({ tableName: TABLE, ...client }));
serve(safe.wrap(handle), { commands: { ...commands, ...counts } });
