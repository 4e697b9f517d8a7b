/** The payments service: plain `node:http`, its one unsafe method made safe to retry. */
import { randomUUID } from "node:crypto";
import { STATUS_CODES, type IncomingMessage, type ServerResponse } from "node:http";
import { json } from "node:stream/consumers";
import { setTimeout as delay } from "node:timers/promises";
// Elsewhere: from "idempotency-kit".
import type { IdempotencyMiddleware, IdempotentRequest } from "../src/index.js";
import { BadRequest, delayMsOf, orderOf, type Order } from "./order.js";

const KEPT_PAYMENTS = 10_000;

interface Payment extends Order {
  readonly id: string;
  readonly createdAt: string;
}

type Handler = (req: IncomingMessage, res: ServerResponse) => void;
type Resource = Readonly<Record<string, Handler>>;

export function paymentsService(safe: IdempotencyMiddleware): Handler {
  const ledger = new Ledger();
  const payments: Resource = {
    GET: (_, res) => sendJson(res, 200, ledger.summary()),
    POST: safe.wrap((req, res) => pay(req, res, ledger)),
  };
  const payment: Resource = { GET: (req, res) => show(req, res, ledger) };
  const health: Resource = { GET: (_, res) => sendJson(res, 200, { status: "ok" }) };

  return (req, res) => {
    const path = pathOf(req);
    if (path === "/payments") answer(payments, req, res);
    else if (path.startsWith("/payments/")) answer(payment, req, res);
    else if (path === "/health") answer(health, req, res);
    else sendProblem(res, 404, "There is nothing here. Try /payments.");
  };
}

function answer(resource: Resource, req: IncomingMessage, res: ServerResponse): void {
  // Node leaves out the body of an answer to HEAD.
  const handler = resource[req.method === "HEAD" ? "GET" : (req.method ?? "")];
  if (handler !== undefined) {
    handler(req, res);
    return;
  }
  const allowed = Object.keys(resource)
    .flatMap((method) => (method === "GET" ? ["GET", "HEAD"] : method))
    .join(", ");
  res.setHeader("Allow", allowed);
  sendProblem(res, 405, `Here one can use ${allowed}.`);
}

function show(req: IncomingMessage, res: ServerResponse, ledger: Ledger): void {
  const payment = ledger.find(pathOf(req).slice("/payments/".length));
  if (payment === undefined) sendProblem(res, 404, "There is no such payment.");
  else sendJson(res, 200, payment);
}

async function pay(req: IdempotentRequest, res: ServerResponse, ledger: Ledger): Promise<void> {
  try {
    const delayMs = delayOf(req);
    const order = orderOf(await bodyOf(req));
    if (delayMs > 0) await delay(delayMs, undefined, { signal: req.idempotency?.signal });
    // The last look before the money moves: without the lease, a retry of this request may be running elsewhere.
    if (!req.idempotency?.held) throw new Error("The lease was lost: nothing was charged.");
    const payment = ledger.charge(order);
    res.setHeader("Location", `/payments/${payment.id}`);
    sendJson(res, 201, payment);
  } catch (error) {
    if (!(error instanceof BadRequest)) throw error;
    sendProblem(res, 400, error.message);
  }
}

/** Where a real service calls its payment provider. */
class Ledger {
  readonly #payments = new Map<string, Payment>();
  #count = 0;

  charge({ amount, currency }: Order): Payment {
    const payment = { id: randomUUID(), amount, currency, createdAt: new Date().toISOString() };
    this.#count += 1;
    this.#payments.set(payment.id, payment);
    const [oldest] = this.#payments.keys();
    if (this.#payments.size > KEPT_PAYMENTS && oldest) this.#payments.delete(oldest);
    return payment;
  }

  find(id: string): Payment | undefined {
    return this.#payments.get(id);
  }

  /** All that this process charged, counted; the latest of them, listed. */
  summary(): { count: number; payments: Payment[] } {
    return { count: this.#count, payments: [...this.#payments.values()] };
  }
}

/** The middleware has read the body already and refused one that is too large: here it needs no limit. */
async function bodyOf(req: IncomingMessage): Promise<unknown> {
  try {
    return await json(req);
  } catch (error) {
    throw error instanceof SyntaxError ? new BadRequest("The body must be JSON.") : error;
  }
}

function delayOf(req: IncomingMessage): number {
  return delayMsOf(new URLSearchParams(req.url?.split("?")[1]).get("delayMs"));
}

function pathOf(req: IncomingMessage): string {
  return req.url?.split("?")[0] ?? "";
}

function sendJson(res: ServerResponse, statusCode: number, value: unknown): void {
  res.writeHead(statusCode, { "Content-Type": "application/json" }).end(JSON.stringify(value));
}

/** RFC 9457: without a `type`, the title is the status's own. */
function sendProblem(res: ServerResponse, status: number, detail: string): void {
  res.writeHead(status, { "Content-Type": "application/problem+json" });
  res.end(JSON.stringify({ title: STATUS_CODES[status], status, detail }));
}
