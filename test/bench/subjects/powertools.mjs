/** Powertools called directly: a function of the key and the order, and a plain server around it. */
import { IdempotencyConfig, makeIdempotent } from "@aws-lambda-powertools/idempotency";
import { readOrder, receipt } from "./subject.mjs";

const CONTEXT = { getRemainingTimeInMillis: () => 30_000 };

export function powertools(persistenceStore) {
  const config = new IdempotencyConfig({ expiresAfterSeconds: 86_400 });
  config.registerLambdaContext(CONTEXT);
  // The key alone is hashed: the order is not compared, which would cost more.
  const pay = makeIdempotent(async (key, order, url) => receipt(order, url), {
    persistenceStore,
    config,
  });
  return (req, res) => {
    readOrder(req, async (order) => {
      try {
        const body = await pay(req.headers["idempotency-key"], order, req.url);
        res.writeHead(201, { "Content-Type": "application/json" }).end(JSON.stringify(body));
      } catch {
        res.writeHead(500).end();
      }
    });
  };
}
