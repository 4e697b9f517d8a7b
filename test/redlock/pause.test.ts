/** A holder that stops for longer than its lease, as processes do: another executes, and its response stands. */
import { setTimeout as sleep } from "node:timers/promises";
import { expect, onTestFinished, test } from "vitest";
import { startMasters } from "../../infra/services/redis.js";
import { storageKey } from "../../src/key.js";
import { startServer } from "./servers.js";

const LEASE_MS = 600;
const NODE_TIMEOUT_MS = 150;

test("P5: a holder that was stopped past its lease answers with its successor's response, which stands", async () => {
  const masters = await startMasters(3);
  onTestFinished(() => masters.close());
  const env = {
    URLS: masters.urls.join(),
    LEASE_MS: `${LEASE_MS}`,
    NODE_TIMEOUT_MS: `${NODE_TIMEOUT_MS}`,
  };
  const [holder, successor] = await Promise.all([startServer(env), startServer(env)]);
  const key = "paused";
  const started = async () => (await holder.report()).executions[storageKey(key, undefined)];

  const first = holder.payAndWait(key);
  await expect.poll(started).toBe(1);
  expect(await successor.pay(key)).toMatchObject({ status: 409 });
  await holder.process.stop();
  let winner = await successor.pay(key);
  while (winner.status === 409) {
    await sleep(10);
    winner = await successor.pay(key);
  }
  expect(winner).toMatchObject({ status: 201 });
  expect(winner.headers["idempotency-replayed"]).toBeUndefined();

  holder.process.resume();
  await holder.finish();
  const late = await first;

  expect(late).toMatchObject({ status: 201, text: winner.text });
  expect(late.headers["idempotency-replayed"]).toBe("true");
  for (const server of [holder, successor]) {
    expect(await server.pay(key)).toMatchObject({ status: 201, text: winner.text });
  }
  const { events } = await holder.report();
  expect(events.map(({ type }) => type)).toContain("lease-lost");
});
