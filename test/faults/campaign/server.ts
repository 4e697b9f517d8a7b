/**
 * One process of a service under test. It takes POST /payments with an `Idempotency-Key`, executes as the request's plan
 * says, and writes down all that it does.
 *
 * GET /busy   executions and unsettled responses here: 0 when nothing is under way
 * PUT /skew   sets this process's wall clock off by so many milliseconds
 */
import { skewDates } from "./dates.js";
import { randomUUID } from "node:crypto";
import { subscribe } from "node:diagnostics_channel";
import { once } from "node:events";
import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import { setTimeout as sleep } from "node:timers/promises";
import { EVENT_CHANNEL, type IdempotencyEvent } from "../../../src/events.js";
import { idempotency } from "../../../src/http.js";
import { storageKey } from "../../../src/key.js";
import { openJournal } from "./journal.js";
import { hashOfAnswer, PLAN_HEADER, type RequestPlan } from "./request-plan.js";
import { parseSettings } from "./settings.js";
import { Stages, stagedStore } from "./staged-store.js";
import { openStore } from "./stores.js";
import { now } from "./time.js";

const settings = parseSettings(process.env);
const journal = openJournal(settings.journal);
const stages = new Stages(journal);
let executing = 0;
const pending = new Map<string, number>();

subscribe(EVENT_CHANNEL, (message) => {
  const event = message as IdempotencyEvent;
  const { type, key } = event;
  const reason = "reason" in event ? event.reason : "state" in event ? event.state : undefined;
  journal({ type: "event", at: now(), key, event: type, ...(reason && { reason }) });
  if (type === "response-pending") pending.set(key, (pending.get(key) ?? 0) + 1);
  if (type === "response-settled" || type === "response-given-up") {
    pending.set(key, Math.max(0, (pending.get(key) ?? 0) - 1));
  }
});

const store = await openStore(settings, (key) => journal({ type: "evicted", at: now(), key }));
const { leaseMs, ttlMs, maxResponseBytes, onConflict, maxWaitMs } = settings;
const safe = idempotency(stagedStore(store, stages, journal), {
  leaseMs,
  ttlMs,
  maxResponseBytes,
  onConflict,
  maxWaitMs,
  // Responses that cannot be stored are offered until the run is quiet, and the run ends.
  maxHandlingMs: settings.maxHandlingMs,
  required: true,
  // Clients hear of failures, and their answers are what is judged.
  onError: () => {},
});

const pay = safe.wrap(async (req, res) => {
  const { idempotency: context } = req;
  if (context === undefined) throw new Error("Bug! Every payment has a key.");
  const { id, workMs, end, bytes } = planOf(req);
  const { token } = context;
  const { variant } = JSON.parse(await text(req)) as { variant: string };
  const key = storageKey(context.key);
  journal({ type: "executes", at: now(), key, token, request: id, variant });
  executing += 1;
  stages.reach("executing");
  await sleep(workMs);
  executing -= 1;
  if (end === "throw") {
    journal({ type: "executed", at: now(), token, end: "threw", isResult: false });
    throw new Error("The payment failed.");
  }
  const status = { pay: 201, decline: 402, refuse: 429 }[end];
  const headers = [
    ["Content-Type", "text/plain"],
    ["X-Payment", randomUUID()],
  ] as const;
  const body = `${token} `.padEnd(bytes, "paid ");
  const answer = hashOfAnswer(status, headers, body);
  const isResult = end !== "refuse";
  journal({ type: "executed", at: now(), token, end: "returned", answer, isResult });
  stages.reach("executed");
  res.writeHead(status, Object.fromEntries(headers)).end(body);
});

const server = createServer((req, res) => {
  if (req.method === "POST") {
    stages.run(planOf(req).fault, () => pay(req, res));
    return;
  }
  if (req.method === "PUT")
    skewDates(Number(new URL(req.url ?? "", "http://x").searchParams.get("ms")));
  const held = [...pending.values()].reduce((sum, count) => sum + count, 0);
  res.end(String(executing + held));
});

server.listen(0, "127.0.0.1");
await once(server, "listening");
console.log(`Listening on ${(server.address() as AddressInfo).port}.`);

function planOf(req: IncomingMessage): RequestPlan {
  return JSON.parse(String(req.headers[PLAN_HEADER])) as RequestPlan;
}
