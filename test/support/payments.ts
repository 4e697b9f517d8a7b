/** A service whose every execution can be told from every other by its answer. */
import { randomUUID } from "node:crypto";
import { expect } from "vitest";
import { idempotency, type IdempotentRequest, type Store } from "../../src/index.js";
import { serve, type Answer, type TestServer } from "./http.js";

export interface PaymentService extends AsyncDisposable {
  readonly server: TestServer;
  /** How often the handler has run. */
  readonly runs: () => number;
}

/** A service that answers each execution with bytes of its own, once `meanwhile` is over. */
export async function servePayments(
  store: Store,
  meanwhile = async (_key: string) => {},
): Promise<PaymentService> {
  let runs = 0;
  // A response that cannot be stored is offered again for two seconds.
  const limits = { leaseMs: 2_000, maxHandlingMs: 2_000, ttlMs: 60_000 };
  const safe = idempotency(store, { ...limits, onError: () => {} });
  const server = await serve(
    safe.wrap(async (req: IdempotentRequest, res) => {
      runs += 1;
      await meanwhile(req.idempotency?.key ?? "");
      res.writeHead(201, "Paid", { "X-Payment": randomUUID() }).end(randomUUID());
    }),
  );
  return {
    server,
    runs: () => runs,
    async [Symbol.asyncDispose]() {
      await safe.drain();
      await server[Symbol.asyncDispose]();
    },
  };
}

/** That one is the other's replay. */
export function expectSame(first: Answer, retry: Answer): void {
  expect(retry).toMatchObject({ status: first.status, reason: first.reason, text: first.text });
  expect(retry.headers["x-payment"]).toBe(first.headers["x-payment"]);
}
