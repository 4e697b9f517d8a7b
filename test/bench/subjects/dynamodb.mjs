/** A client for those that are given one, and a count of what they are billed. */
import { DynamoDBClient } from "@aws-sdk/client-dynamodb";
import { services } from "./subject.mjs";

export const TABLE = services.table;

let units = 0;
let requests = 0;

export const region = "eu-central-1";
export const credentials = { accessKeyId: "anyone", secretAccessKey: "anything" };

export const dynamodb = new DynamoDBClient({
  endpoint: services.dynamodb,
  region,
  credentials,
  requestHandler: { requestTimeout: 5_000, throwOnRequestTimeout: true },
});

/** Only where it is asked for: the answers grow by it. */
function countUnits() {
  const counted = (next) => async (args) => {
    requests += 1;
    const result = await next({
      ...args,
      input: { ...args.input, ReturnConsumedCapacity: "TOTAL" },
    });
    const capacity = [result.output.ConsumedCapacity ?? []].flat();
    for (const { CapacityUnits = 0 } of capacity) units += CapacityUnits;
    return result;
  };
  dynamodb.middlewareStack.add(counted, { step: "initialize", name: "countUnits" });
}

if (process.env.BENCH_COUNT_UNITS) countUnits();

export const commands = { units: () => ({ units, requests }) };
