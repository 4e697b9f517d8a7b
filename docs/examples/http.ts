/** Plain `node:http`. */
import { randomUUID } from "node:crypto";
import { createServer } from "node:http";
import { json } from "node:stream/consumers";
import { idempotency } from "idempotency-kit";
import { memoryStore } from "idempotency-kit/memory";

const safe = idempotency(memoryStore(), { required: true });

const server = createServer(
  safe.wrap(async (req, res) => {
    const order = (await json(req)) as object;
    const payment = { id: randomUUID(), ...order }; // here the card is charged
    res.writeHead(201, { "Content-Type": "application/json" }).end(JSON.stringify(payment));
  }),
);
server.listen(3000);

// A clean shutdown: no new keys, and every response stored or given up.
process.once("SIGTERM", () => {
  server.close();
  void safe.drain();
});
