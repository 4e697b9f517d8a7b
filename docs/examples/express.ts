/** Express 5, and 4: mounted on the route, behind authentication, in front of the body parser. */
import { randomUUID } from "node:crypto";
import express from "express";
import { idempotency } from "idempotency-kit";
import { memoryStore } from "idempotency-kit/memory";

const app = express();
const safe = idempotency(memoryStore(), { required: true });

app.post("/payments", safe, express.json(), (req, res) => {
  const payment = { id: randomUUID(), ...(req.body as object) }; // here the card is charged
  res.status(201).json(payment);
});

app.listen(3000);
