/** Fastify: a hook before the body is read is all it takes. */
import { randomUUID } from "node:crypto";
import Fastify from "fastify";
import { idempotency } from "idempotency-kit";
import { memoryStore } from "idempotency-kit/memory";

const app = Fastify();
const safe = idempotency(memoryStore(), { required: true });

app.addHook("onRequest", ({ raw: req }, reply, done) => {
  // Answered by the middleware, for a replay or a refusal, the request goes no further.
  void safe(req, reply.raw, (error) => done(error as Error | undefined));
});

app.post("/payments", async (request, reply) => {
  const payment = { id: randomUUID(), ...(request.body as object) }; // here the card is charged
  return await reply.code(201).send(payment);
});

await app.listen({ port: 3000 });
