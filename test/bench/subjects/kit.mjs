/** The kit as its README says, and ways to fill its store without sending requests. */
import { setTimeout as sleep } from "node:timers/promises";
import { idempotency } from "../../../dist/src/index.js";

export function protect(store) {
  const safe = idempotency(store, { required: true });
  return { safe, commands: { fill: ({ from, to }) => fill(store, from, to) } };
}

async function fill(store, from, to) {
  const body = Buffer.alloc(200, "x");
  for (let at = from; at < to; at += 1) {
    const claim = await locked(store, `filled-${at}`);
    if (claim.state !== "acquired") continue;
    const timestamp = Date.now();
    const headers = [["Content-Type", "application/json"]];
    const times = { timestamp, expiresAt: timestamp + 86_400_000 };
    const response = { statusCode: 201, headers, body, fingerprint: "f".repeat(43), ...times };
    await store.set(claim.lease, response, 86_400_000);
  }
}

/** After a load, a node that was too busy for a moment counts as down for the next one. */
async function locked(store, key) {
  for (let tries = 1; ; tries += 1) {
    try {
      return await store.lock(key, "f".repeat(43), 60_000);
    } catch (error) {
      if (tries === 20) throw error;
      await sleep(500);
    }
  }
}
