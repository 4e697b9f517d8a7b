/** A consumer of SQS records: each is charged once, however often it is delivered. */
import { storeFromEnv } from "idempotency-kit/env";
import { idempotentBatch } from "idempotency-kit/lambda";

interface Order {
  readonly orderId: string;
  readonly amount: number;
}

const read = (body: string): Order => JSON.parse(body) as Order;

export const handler = idempotentBatch(
  async ({ body }) => {
    const { orderId, amount } = read(body);
    console.log(`charged ${amount} for ${orderId}`); // here the card is charged
  },
  await storeFromEnv(),
  { name: "orders", key: ({ body }) => read(body).orderId },
);
