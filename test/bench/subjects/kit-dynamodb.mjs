import { dynamodbStore } from "../../../dist/stores/dynamodb.js";
import { commands as counts, dynamodb as client, TABLE } from "./dynamodb.mjs";
import { protect } from "./kit.mjs";
import { handle, serve } from "./subject.mjs";

const { safe, commands } = protect(dynamodbStore({ tableName: TABLE, client }));
serve(safe.wrap(handle), { commands: { ...commands, ...counts } });
