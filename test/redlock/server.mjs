/**
 * One process of a service on a quorum, for tests to stop and to outnumber: the built package, as its users run it.
 *
 * POST /payments   executes once per key; with `X-Wait` it takes until somebody says POST /finish
 * GET /report      how often each key was executed here, and what the kit had to say
 */
import { randomUUID } from "node:crypto";
import { subscribe } from "node:diagnostics_channel";
import { createServer } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { EVENT_CHANNEL, idempotency } from "../../dist/src/index.js";
import { storageKey } from "../../dist/src/key.js";
import { connectRedis, ready } from "../../dist/stores/redis.js";
import { redlockStore } from "../../dist/stores/redlock.js";

const { URLS = "", NODE_TIMEOUT_MS = "500", LEASE_MS = "3000" } = process.env;

const executions = {};
const events = [];
const waiting = [];

/** What happened to a key here, with the time: the history is read when something went wrong. */
function note(type, key, about) {
  events.push({ at: Date.now(), type, key, about: String(about) });
}

subscribe(EVENT_CHANNEL, ({ type, key, error, state, reason }) =>
  note(type, key, error ?? state ?? reason),
);

const clients = URLS.split(",").map((url) => connectRedis(url));
await Promise.all(clients.map((client) => ready(client)));
const store = redlockStore(clients, { nodeTimeoutMs: Number(NODE_TIMEOUT_MS) });
// What the clients hear of failures is what counts here.
const safe = idempotency(store, { leaseMs: Number(LEASE_MS), required: true, onError: () => {} });

const pay = safe.wrap(async (req, res) => {
  const key = storageKey(req.idempotency.key, undefined);
  executions[key] = (executions[key] ?? 0) + 1;
  note("executes", key, req.idempotency.token);
  if (req.headers["x-wait"]) await new Promise((resolve) => waiting.push(resolve));
  else await sleep(Math.random() * 100);
  res.writeHead(201, { "Content-Type": "application/json" });
  note("executed", key, `held: ${req.idempotency.held}`);
  res.end(JSON.stringify({ payment: randomUUID(), by: process.pid }));
});

const server = createServer((req, res) => {
  if (req.url === "/payments") {
    pay(req, res);
    return;
  }
  if (req.url === "/finish") for (const finish of waiting.splice(0)) finish();
  res.end(JSON.stringify({ executions, events }));
});
server.listen(0, "127.0.0.1", () => {
  console.log(`Listening on ${server.address().port}.`);
});
