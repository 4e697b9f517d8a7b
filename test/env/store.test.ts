/** Stores that the environment names, on real servers. */
import { execFile } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, onTestFinished, test } from "vitest";
import { startMasters, startRedis } from "../../infra/services/redis.js";
import { until } from "../../infra/services/until.js";
import type { Store } from "../../src/store.js";
import { storeFromEnv } from "../../stores/from-env.js";

async function opened(env: Record<string, string>): Promise<Store> {
  const store = await storeFromEnv(env);
  onTestFinished(() => store.close?.());
  return store;
}

async function clientsOf(node: { command(...words: [string, ...string[]]): Promise<unknown> }) {
  const list = String(await node.command("CLIENT", "LIST"));
  return list.split("\n").filter((line) => line !== "" && !line.includes("cmd=client")).length;
}

test("redis: takes commands at once, under its prefix, and its close ends the connection", async () => {
  const node = await startRedis({ persistence: "always", config: { requirepass: "hunter2" } });
  onTestFinished(() => node.close());
  const store = await storeFromEnv({
    IDEMPOTENCY_STORE: `redis://:hunter2@127.0.0.1:${node.port}/1`,
    IDEMPOTENCY_PREFIX: "pay:",
  });

  expect(await store.lock("key", "f", 1_000)).toMatchObject({ state: "acquired" });
  expect(await node.command("INFO", "keyspace")).toMatch(/^db1:.*expires=1,/m);
  await store.close?.();

  await expect(store.get("key")).rejects.toMatchObject({ code: "STORE_UNAVAILABLE" });
  expect(await clientsOf(node)).toBe(0);
});

test("redlock: is a quorum of the regions that it lists", async () => {
  const masters = await startMasters(3, { persistence: "always" });
  onTestFinished(() => masters.close());
  const store = await opened({
    IDEMPOTENCY_STORE: `redlock:${masters.urls.join(",")}`,
    IDEMPOTENCY_NODE_TIMEOUT_MS: "400",
  });
  await masters.nodes[0]?.kill();

  expect(await store.lock("key", "f", 5_000)).toMatchObject({ state: "acquired" });
  await masters.nodes[1]?.kill();

  await expect(store.lock("other", "f", 5_000)).rejects.toMatchObject({
    code: expect.stringMatching(/STORE_UNAVAILABLE|LOCK_FAILED/),
  });
});

test("a store that cannot be reached is a warning without credentials, and works as soon as it can", async () => {
  const node = await startRedis({ persistence: "always" });
  onTestFinished(() => node.close());
  await node.kill();
  const warned = once(process, "warning") as Promise<[Error & { code: string }]>;
  const store = await opened({
    IDEMPOTENCY_STORE: `redis://default:hunter2@127.0.0.1:${node.port}`,
  });
  const [warning] = await warned;
  expect(warning).toMatchObject({
    code: "IDEMPOTENCY_UNREACHABLE",
    message: expect.stringMatching(
      new RegExp(
        `^Redis at 127.0.0.1:${node.port}: .*ECONNREFUSED.* get 503 until .*IDEMPOTENCY_STORE`,
      ),
    ),
  });
  expect(warning.message).not.toContain("hunter2");
  await expect(store.get("key")).rejects.toMatchObject({ code: "STORE_UNAVAILABLE" });

  await node.restart({ keepData: true });
  const answers = () =>
    store.get("key").then(
      () => true,
      () => false,
    );
  await until("the store answers", answers);
});

const PROGRAM = `
  import { storeFromEnv } from "./dist/stores/from-env.js";
  const store = await storeFromEnv();
  await store.close();
  const closedAt = performance.now();
  process.on("exit", () => console.log(performance.now() - closedAt));
`;

test("a store that was never reached keeps no process alive once it is closed", async () => {
  const node = await startRedis();
  await node.close();
  const { stdout } = await promisify(execFile)(
    process.execPath,
    ["--input-type=module", "--eval", PROGRAM],
    {
      cwd: fileURLToPath(new URL("../..", import.meta.url)),
      env: {
        IDEMPOTENCY_STORE: `redlock:${[1, 2].map((at) => `redis://127.0.0.1:${at}`).join()},${node.url}`,
      },
    },
  );
  // It asks its servers for five seconds what they promise, of which three are left.
  expect(Number(stdout)).toBeLessThan(2_000);
}, 30_000);
