/** AWS Lambda behind API Gateway, a function URL or a load balancer. `IDEMPOTENCY_STORE=dynamodb://table`. */
import { randomUUID } from "node:crypto";
import { optionsFromEnv, storeFromEnv } from "idempotency-kit/env";
import { idempotentHandler, type HttpEvent } from "idempotency-kit/lambda";

// Once per instance.
const store = await storeFromEnv();

export const handler = idempotentHandler(
  async (event: HttpEvent) => {
    const order = JSON.parse(event.body ?? "{}") as object;
    const payment = { id: randomUUID(), ...order }; // here the card is charged
    return { statusCode: 201, body: JSON.stringify(payment) };
  },
  store,
  { required: true, ...optionsFromEnv() },
);
