/** express-idempotency: it looks, then writes, so two at once both run; it answers before it stores. */
import express from "express";
import { getSharedIdempotencyService, idempotency } from "express-idempotency";
import adapter from "express-idempotency-redis-adapter";
import { handleExpress, serve, services } from "./subject.mjs";

const RedisAdapter = adapter.default ?? adapter;
const dataAdapter = new RedisAdapter({ connectionConfig: { url: services.redis } });
await dataAdapter.connect();
const protect = idempotency({ dataAdapter });

serve(
  express().post("/:size", express.json(), protect, async (req, res) => {
    // Handlers run on replays too, and have to ask.
    if (!getSharedIdempotencyService().isHit(req)) await handleExpress(req, res);
  }),
);
