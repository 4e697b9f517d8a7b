import { Redis } from "ioredis";
import { floor } from "./floor.mjs";
import { handle, serve, services, TTL_MS } from "./subject.mjs";

const redis = new Redis(services.redis);

serve(
  floor(
    (key) => redis.setBuffer(key, "L", "PX", 10_000, "NX", "GET"),
    (key, body) => redis.set(key, body, "PX", TTL_MS),
    handle,
  ),
);
