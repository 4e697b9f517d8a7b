/** A server in a process of its own, for a test to stop or kill: its handler runs until somebody asks for /finish. */
import { once } from "node:events";
import { createServer } from "node:http";
import { idempotency } from "idempotency-kit";
import { connectRedis, ready, redisStore } from "idempotency-kit/redis";

const steps = new Map();

/** Of the handler: it has begun, or shall end. */
function step(name) {
  if (!steps.has(name)) {
    let reach;
    const reached = new Promise((resolve) => {
      reach = resolve;
    });
    steps.set(name, { reach, reached });
  }
  return steps.get(name);
}

const client = connectRedis(process.env.REDIS_URL);
await ready(client);
const safe = idempotency(redisStore(client), {
  leaseMs: Number(process.env.LEASE_MS),
  onError: () => undefined,
});
const payments = safe.wrap(async (_req, res) => {
  step("started").reach();
  await step("finish").reached;
  res.writeHead(201).end("by the holder");
});

const server = createServer((req, res) => {
  if (req.method === "POST") return payments(req, res);
  if (req.url === "/finish") step("finish").reach();
  return void step(req.url === "/finish" ? "finish" : "started").reached.then(() => res.end());
});
server.listen(0, "127.0.0.1");
await once(server, "listening");
console.log(`port ${server.address().port}`);
