/** What a client orders to be paid, read from what it sent. */

export interface Order {
  /** In minor units: 1999 is 19.99 EUR. */
  readonly amount: number;
  readonly currency: string;
}

/** What is wrong with a request, in words for the client. */
export class BadRequest extends Error {}

/** `?delayMs=` stands for a slow card network; this is as slow as it gets. */
export const MAX_DELAY_MS = 600_000;

/** @throws {BadRequest} */
export function orderOf(body: unknown): Order {
  const { amount, currency } = (body ?? {}) as Partial<Record<keyof Order, unknown>>;
  if (!Number.isSafeInteger(amount) || (amount as number) <= 0) {
    throw new BadRequest("amount must be a positive integer, in minor units of the currency.");
  }
  if (typeof currency !== "string" || !/^[A-Z]{3}$/.test(currency)) {
    throw new BadRequest("currency must be three upper-case letters, such as EUR.");
  }
  return { amount: amount as number, currency };
}

/** The number that whoever places an order gives it, the same when it is sent again; `undefined` where it has none. */
export function orderIdOf(body: unknown): string | undefined {
  const { orderId } = (body ?? {}) as { orderId?: unknown };
  return typeof orderId === "string" ? orderId : undefined;
}

/** @throws {BadRequest} */
export function delayMsOf(text: string | null | undefined): number {
  const delayMs = /^\d{1,6}$/.test(text ?? "0") ? Number(text ?? "0") : Number.NaN;
  if (delayMs <= MAX_DELAY_MS) return delayMs;
  throw new BadRequest(`delayMs must be an integer from 0 to ${MAX_DELAY_MS}.`);
}
