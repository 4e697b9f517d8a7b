/** The real servers that all other tests rely on: they start, break on demand, and leave nothing behind. */
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { promisify } from "node:util";
import { beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { freePort } from "../../infra/services/ports.js";
import { launch } from "../../infra/services/process.js";
import {
  startCluster,
  startMasters,
  startRedis,
  startSentinel,
  type RedisNode,
} from "../../infra/services/redis.js";
import { until } from "../../infra/services/until.js";

async function closedAfterTest<T extends { close(): Promise<void> }>(
  starting: Promise<T>,
): Promise<T> {
  const service = await starting;
  onTestFinished(() => service.close());
  return service;
}

describe("one server", () => {
  test("keeps its data through a crash if it shall, and its port", async () => {
    const node = await closedAfterTest(startRedis());
    const { pid, port } = node;
    await node.command("SET", "key", "value");

    await node.kill();
    expect(node.running).toBe(false);
    await expect(node.command("PING")).rejects.toThrow("Connection is closed");
    await node.restart({ keepData: true });

    expect(await node.command("GET", "key")).toBe("value");
    expect(node.port).toBe(port);
    expect(node.pid).not.toBe(pid);
  });

  test("restarts empty if it shall, even from running", async () => {
    const node = await closedAfterTest(startRedis({ persistence: "always" }));
    await node.command("SET", "key", "value");

    await node.restart({ keepData: false });

    expect(await node.command("DBSIZE")).toBe(0);
  });

  test("a stopped server answers nothing until it is resumed", async () => {
    const [stopped, other] = (await closedAfterTest(startMasters(2))).nodes as [
      RedisNode,
      RedisNode,
    ];
    await stopped.stop();
    let answered = false;
    const answer = stopped.command("PING").finally(() => {
      answered = true;
    });

    await other.command("PING");
    await other.command("PING");
    expect(answered).toBe(false);
    stopped.resume();

    expect(await answer).toBe("PONG");
  });

  test("a stopped server can be killed and restarted", async () => {
    const node = await closedAfterTest(startRedis());
    await node.stop();

    await node.restart({ keepData: true });

    expect(await node.command("PING")).toBe("PONG");
  });

  test("without persistence there is no data to keep", async () => {
    const node = await closedAfterTest(startRedis({ persistence: "none" }));

    expect(await node.command("CONFIG", "GET", "appendonly")).toEqual(["appendonly", "no"]);
    await expect(node.restart({ keepData: true })).rejects.toThrow("keeps nothing");
  });

  test("takes directives, a password and TLS", async () => {
    const node = await closedAfterTest(
      startRedis({
        tls: true,
        config: { "maxmemory-policy": "allkeys-lru", requirepass: "secret" },
      }),
    );

    expect(node.url).toMatch(/^rediss:/);
    expect(await node.command("CONFIG", "GET", "maxmemory-policy")).toContain("allkeys-lru");
  });

  test("removes its folder", async () => {
    const node = await startRedis();
    const [, dir] = (await node.command("CONFIG", "GET", "dir")) as [string, string];
    expect(existsSync(dir)).toBe(true);

    await node.close();

    expect(existsSync(dir)).toBe(false);
    expect(node.running).toBe(false);
  });

  test("a directive that Redis does not know fails the start with what it said", async () => {
    await expect(startRedis({ config: { "no-such-directive": "1" } })).rejects.toThrow(
      /no-such-directive/,
    );
  });
});

test("a server that does not start or is never ready says so", async () => {
  const ready = { readyWhen: /never/, startTimeoutMs: 100 };

  await expect(launch({ command: "/no/such/server", args: [], ...ready })).rejects.toThrow(
    /no\/such\/server/,
  );
  await expect(launch({ command: "cat", args: ["/dev/zero"], ...ready })).rejects.toThrow(
    "was not ready in 100 ms",
  );
});

test("ports are given once and lie below those of outgoing connections", async () => {
  const ports = await Promise.all(Array.from({ length: 20 }, () => freePort()));

  expect(new Set(ports).size).toBe(20);
  expect(Math.max(...ports)).toBeLessThan(32_768);
});

test("masters are independent of each other", async () => {
  const { nodes, urls } = await closedAfterTest(startMasters(3));
  const [first, second] = nodes as [RedisNode, RedisNode];
  await first.command("SET", "key", "value");

  expect(new Set(urls).size).toBe(3);
  expect(await second.command("GET", "key")).toBeNull();
});

describe.concurrent("topologies fail over", { timeout: 60_000 }, () => {
  test("a cluster promotes the replica of a stopped master, which comes back as replica", async (context) => {
    const cluster = await startCluster();
    context.onTestFinished(() => cluster.close());
    const master = await cluster.masterOf("key");
    expect(cluster.masters).toContain(master);

    await master.stop();
    await until("promoted", async () => (await cluster.masterOf("key")) !== master);
    master.resume();

    expect(cluster.replicas).toContain(await cluster.masterOf("key"));
    await until("demoted", async () => isReplica(master));
  });

  test("a cluster node that restarts empty is still a member", async (context) => {
    const cluster = await startCluster();
    context.onTestFinished(() => cluster.close());
    const [master] = cluster.masters as [RedisNode];
    const id = await master.command("CLUSTER", "MYID");

    await master.restart({ keepData: false });

    expect(await master.command("CLUSTER", "MYID")).toBe(id);
    await until("ok", async () =>
      String(await master.command("CLUSTER", "INFO")).includes("cluster_state:ok"),
    );
  });

  test("Sentinel promotes the replica of a killed master", async (context) => {
    const sentinel = await startSentinel();
    context.onTestFinished(() => sentinel.close());
    const master = await sentinel.master();
    expect(master).toBe(sentinel.nodes[0]);

    await master.kill();
    await until("promoted", async () => (await sentinel.master()) !== master);

    expect(await isReplica(await sentinel.master())).toBe(false);
  });
});

async function isReplica(node: RedisNode): Promise<boolean> {
  return String(await node.command("ROLE")).startsWith("slave");
}

describe("infra/services/main", () => {
  // `once` of node:events would reject at a reset, which is just as good an end.
  function ended(it: ReturnType<typeof spawn> | Socket): Promise<void> {
    if ("resume" in it) it.resume().on("error", () => undefined);
    return new Promise((resolve) => {
      it.once("close", () => resolve());
    });
  }

  const outDir = "node_modules/.cache/idempotency-kit/services";

  beforeAll(async () => {
    const tsc = [
      "node_modules/typescript/bin/tsc",
      "-p",
      "tsconfig.build.json",
      "--outDir",
      outDir,
    ];
    await promisify(execFile)(process.execPath, tsc);
  });

  async function startMain(name: string): Promise<{
    child: ReturnType<typeof spawn>;
    connections: Socket[];
  }> {
    const TMPDIR = await mkdtemp(join(tmpdir(), "idempotency-kit-"));
    onTestFinished(() => rm(TMPDIR, { recursive: true }));
    const child = spawn(process.execPath, [`${outDir}/infra/services/main.js`, name], {
      stdio: ["ignore", "pipe", "inherit"],
      // After SIGKILL nobody is left to remove the servers' folders.
      env: { ...process.env, TMPDIR },
    });
    onTestFinished(() => void child.kill("SIGKILL"));
    const ports: number[] = [];
    for await (const line of createInterface({ input: child.stdout })) {
      if (line.startsWith("Stop with")) break;
      ports.push(Number(new URL(line).port));
    }
    const connections = ports.map((port) => connect({ port, host: "127.0.0.1" }));
    await Promise.all(connections.map((socket) => once(socket, "connect")));
    return { child, connections };
  }

  test.each(["SIGTERM", "SIGKILL"] as const)("leaves no server behind after %s", async (signal) => {
    const { child, connections } = await startMain("masters");
    expect(connections).toHaveLength(5);
    const gone = [child, ...connections].map((it) => ended(it));

    child.kill(signal);

    await Promise.all(gone);
  });
});
