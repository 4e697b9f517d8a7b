/** @node-idempotency/core, with the few lines that tie it to Express. */
import express from "express";
import { Idempotency } from "@node-idempotency/core";
import { RedisStorageAdapter } from "@node-idempotency/storage-adapter-redis";
import { handleExpress, serve, services } from "./subject.mjs";

const storage = new RedisStorageAdapter({ url: services.redis });
await storage.connect();
const kit = new Idempotency(storage, { enforceIdempotency: true });

async function protect(req, res, next) {
  const { headers, path, body, method } = req;
  const request = { headers, path, body, method };
  const found = await kit.onRequest(request);
  if (found !== undefined) {
    res.status(found.additional.statusCode).type("json").send(found.body);
    return;
  }
  const send = res.send.bind(res);
  const keepAndSend = async (answer) => {
    try {
      await kit.onResponse(request, { body: answer, additional: { statusCode: res.statusCode } });
      send(answer);
    } catch (error) {
      next(error);
    }
  };
  res.send = (answer) => {
    void keepAndSend(answer);
    return res;
  };
  next();
}

serve(express().post("/:size", express.json(), protect, handleExpress));
