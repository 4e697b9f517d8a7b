import express from "express";
import { connectRedis, ready, redisStore } from "../../../dist/stores/redis.js";
import { protect } from "./kit.mjs";
import { handleExpress, serve, services } from "./subject.mjs";

const client = connectRedis(services.redis);
await ready(client);
const { safe, commands } = protect(redisStore(client, { onReport: () => {} }));
serve(express().post("/:size", safe, express.json(), handleExpress), { commands });
