/** Redis Cluster while some of its nodes cannot be reached: what the others answer belongs to the key that was asked for. */
import { randomUUID } from "node:crypto";
import { expect, onTestFinished, test, vi } from "vitest";
import { startCluster, type RedisNode } from "../../infra/services/redis.js";
import { acquire, answer, LONG_MS } from "../../src/testing/stage.js";
import { redisStore } from "../../stores/redis.js";
import { connected, eventually, proxyTo } from "./clients.js";

vi.setConfig({ testTimeout: 60_000 });

test("while one master is gone and another does not answer, the third one's replies stay in their order", async () => {
  const cluster = await startCluster();
  onTestFinished(() => cluster.close());
  const [gone, hung, sound] = cluster.masters as [RedisNode, RedisNode, RedisNode];
  const [goneLink, hungLink] = [await proxyTo(gone.port), await proxyTo(hung.port)];
  const address = (port: number) => ({ host: "127.0.0.1", port });
  const natMap = {
    [`127.0.0.1:${gone.port}`]: address(goneLink.port),
    [`127.0.0.1:${hung.port}`]: address(hungLink.port),
  };
  const client = await connected(`redis+cluster://127.0.0.1:${sound.port}`, {
    cluster: { natMap },
  });
  const store = redisStore(client, { minReplicas: 1, onReport: () => undefined });
  const keyOf = async (node: RedisNode): Promise<string> => {
    const key = randomUUID();
    return (await cluster.masterOf(`idempotency:${key}`)) === node ? key : await keyOf(node);
  };
  const unreachable = await keyOf(gone);
  const claimUnreachable = async () => {
    await expect(store.lock(unreachable, "fingerprint", LONG_MS)).rejects.toThrow(/Redis/);
  };

  await goneLink.refuse();
  hungLink.hang();
  hungLink.reset();
  // It is connected to again, and does not finish its handshake.
  await eventually(async () => {
    await claimUnreachable();
    return hungLink.held > 0;
  });

  for (let round = 0; round < 50; round += 1) {
    const failing = Promise.all(Array.from({ length: 10 }, claimUnreachable));
    const key = await keyOf(sound);
    const lease = await acquire(store, key, LONG_MS, `of ${key}`);
    const again = await store.lock(key, "another", LONG_MS);
    expect(again).toMatchObject({ state: "in-progress", fingerprint: `of ${key}` });
    const response = answer();
    expect(await store.set(lease, response, LONG_MS)).toEqual({ state: "stored" });
    expect(await store.lock(key, "another", LONG_MS)).toEqual({ state: "completed", response });
    await failing;
  }
});
