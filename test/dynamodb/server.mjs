/**
 * One process of a service on DynamoDB, for tests to outnumber: the built package, as its users run it.
 *
 * POST /payments   executes once per key
 * GET /report      how often each key was executed here
 */
import { randomUUID } from "node:crypto";
import { createServer } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { idempotency } from "../../dist/src/index.js";
import { dynamodbStore } from "../../dist/stores/dynamodb.js";

const { TABLE = "", ENDPOINT = "", CLOCK_AHEAD_MS = "0" } = process.env;

// Before anything has asked for the time.
const now = Date.now.bind(Date);
Date.now = () => now() + Number(CLOCK_AHEAD_MS);

const executions = {};
// One slow server for all of them, on a machine with few cores: its time is not what counts here.
const limits = { timeoutMs: 9_000, requestTimeoutMs: 5_000 };
const store = dynamodbStore({
  tableName: TABLE,
  endpoint: ENDPOINT,
  region: "us-east-1",
  ...limits,
});
const safe = idempotency(store, {
  leaseMs: 30_000,
  storeTimeoutMs: 10_000,
  required: true,
  onError: () => {},
});

const pay = safe.wrap(async (req, res) => {
  const { key } = req.idempotency;
  executions[key] = (executions[key] ?? 0) + 1;
  await sleep(Math.random() * 50);
  res.writeHead(201, { "Content-Type": "application/json" });
  res.end(JSON.stringify({ payment: randomUUID(), by: process.pid }));
});

const server = createServer((req, res) => {
  if (req.url === "/payments") pay(req, res);
  else res.end(JSON.stringify(executions));
});
server.listen(0, "127.0.0.1", () => {
  console.log(`Listening on ${server.address().port}.`);
});
