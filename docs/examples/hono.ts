/** Hono on Node's `http`: the middleware goes around the whole app. */
import { randomUUID } from "node:crypto";
import { createServer } from "node:http";
import { getRequestListener } from "@hono/node-server";
import { Hono } from "hono";
import { idempotency } from "idempotency-kit";
import { memoryStore } from "idempotency-kit/memory";

const app = new Hono();
app.post("/payments", async (context) => {
  const order = await context.req.json<object>();
  const payment = { id: randomUUID(), ...order }; // here the card is charged
  return context.json(payment, 201);
});

const safe = idempotency(memoryStore(), { required: true });
createServer(safe.wrap(getRequestListener(app.fetch))).listen(3000);
