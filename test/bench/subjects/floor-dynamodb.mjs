import { PutItemCommand } from "@aws-sdk/client-dynamodb";
import { commands, dynamodb, TABLE } from "./dynamodb.mjs";
import { floor } from "./floor.mjs";
import { handle, serve, TTL_MS } from "./subject.mjs";

const put = (id, attributes, conditions = {}) =>
  dynamodb.send(
    new PutItemCommand({ TableName: TABLE, Item: { id: { S: id }, ...attributes }, ...conditions }),
  );

async function claim(key) {
  try {
    await put(
      key,
      {},
      {
        ConditionExpression: "attribute_not_exists(id)",
        ReturnValuesOnConditionCheckFailure: "ALL_OLD",
      },
    );
    return undefined;
  } catch (error) {
    if (error.name !== "ConditionalCheckFailedException") throw error;
    return error.Item.body?.B;
  }
}

function store(key, body) {
  const expiresAt = { N: `${Math.ceil((Date.now() + TTL_MS) / 1000)}` };
  return put(key, { body: { B: Buffer.from(body) }, expiresAt });
}

serve(floor(claim, store, handle), { commands });
