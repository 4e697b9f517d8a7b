/**
 * The process under test: a service with the kit, told by each request what to do. Asked over the channel of its parent for
 * a sample of itself, or to drain.
 */
import { countTimers } from "./timers.js";
import { subscribe } from "node:diagnostics_channel";
import { once } from "node:events";
import {
  createServer,
  type IncomingMessage,
  type RequestListener,
  type ServerResponse,
} from "node:http";
import type { AddressInfo } from "node:net";
import { buffer } from "node:stream/consumers";
import { setTimeout as sleep } from "node:timers/promises";
import { EVENT_CHANNEL, type IdempotencyEvent } from "../../src/events.js";
import { idempotency } from "../../src/http.js";
import { leak } from "./leaks.js";
import { LEASE_MS, MAX_BODY_BYTES, MAX_HANDLING_MS, MAX_RESPONSE_BYTES, TTL_MS } from "./limits.js";
import { PATHS, PLAN_HEADER, type RequestPlan } from "./requests.js";
import { sampleOf } from "./sampler.js";
import { parseSettings, type Question, type Reply } from "./settings.js";
import { openStore } from "./stores.js";

const timers = countTimers();
const settings = parseSettings(process.env);
let requests = 0;
let executing = 0;
let pending = 0;

subscribe(EVENT_CHANNEL, (message) => {
  const { type } = message as IdempotencyEvent;
  if (type === "response-pending") pending += 1;
  if (type === "response-settled" || type === "response-given-up") pending -= 1;
});

const { store, emitters } = await openStore(settings);
const options = {
  ttlMs: TTL_MS,
  leaseMs: LEASE_MS,
  maxHandlingMs: MAX_HANDLING_MS,
  maxResponseBytes: MAX_RESPONSE_BYTES,
  maxBodyBytes: MAX_BODY_BYTES,
  required: true,
  // Clients hear of failures.
  onError: () => {},
};
const rejecting = idempotency(store, options);
const waiting = idempotency(store, { ...options, onConflict: "wait", maxWaitMs: 3_000 });
const handlers: Record<string, RequestListener> = {
  [PATHS.reject]: rejecting.wrap(pay),
  [PATHS.wait]: waiting.wrap(pay),
};

const server = createServer((req, res) => {
  requests += 1;
  leak(settings.leaks, server);
  (handlers[req.url ?? ""] ?? notFound)(req, res);
});

async function pay(req: IncomingMessage, res: ServerResponse): Promise<void> {
  executing += 1;
  try {
    await buffer(req);
    await answer(JSON.parse(String(req.headers[PLAN_HEADER])) as RequestPlan, res);
  } finally {
    executing -= 1;
  }
}

async function answer({ end, workMs, bytes }: RequestPlan, res: ServerResponse): Promise<void> {
  await sleep(workMs);
  const body = "paid ".repeat(Math.ceil(bytes / 5));
  switch (end) {
    case "pay":
      res.writeHead(201, { "Content-Type": "text/plain" }).end(body);
      break;
    case "refuse":
      res.writeHead(429).end();
      break;
    case "throw":
      throw new Error("The payment failed.");
    case "stream":
    case "events":
      res.writeHead(201, { "Content-Type": end === "events" ? "text/event-stream" : "text/plain" });
      for (let part = 0; part < 4; part += 1) {
        res.write(body);
        await sleep(workMs);
      }
      res.end();
      break;
    default:
      throw new Error(`Bug! Unknown end ${JSON.stringify(end satisfies never)}`);
  }
}

function notFound(_req: IncomingMessage, res: ServerResponse): void {
  res.writeHead(404).end();
}

const subject = {
  server,
  timers,
  requests: () => requests,
  emitters,
  others: () => ({ executing, pending }),
};

async function replyTo(question: Question): Promise<Reply> {
  if (question === "sample") return { sample: await sampleOf(subject) };
  await Promise.all([rejecting.drain(), waiting.drain()]);
  return { drained: true };
}

process.on("message", (question) => {
  void replyTo(question as Question).then((reply) => process.send?.(reply));
});
// Whoever started it is gone.
process.on("disconnect", () => process.exit());

server.listen(0, "127.0.0.1");
await once(server, "listening");
process.send?.({ listening: (server.address() as AddressInfo).port } satisfies Reply);
