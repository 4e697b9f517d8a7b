/** A client with correct retries: the order's id is the key, so that a later run finishes what this one began. */
import { NoResponseError, retryingFetch } from "idempotency-kit/client";

interface Order {
  readonly orderId: string;
  readonly amount: number;
}

const send = retryingFetch({ deadlineMs: 30_000 });

export async function pay(shop: string, order: Order) {
  try {
    const response = await send(`${shop}/payments`, {
      method: "POST",
      headers: {
        "Content-Type": "application/json",
        "Idempotency-Key": `"order-${order.orderId}"`,
      },
      body: JSON.stringify(order),
    });
    // Also 4xx, and a 5xx that is stored: another try would get the same.
    if (!response.ok) throw new Error(`The payment was refused: ${response.status}.`);
    return (await response.json()) as { readonly id: string };
  } catch (error) {
    // Whether it was paid is not known: remember the order, and call again with the same one.
    if (error instanceof NoResponseError) console.warn(error.message, error.attempts);
    throw error;
  }
}
