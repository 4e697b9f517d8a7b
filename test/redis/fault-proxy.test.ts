/** The faults themselves, on a real server: a test that relies on one must be able to trust it. */
import { Redis, type RedisOptions } from "ioredis";
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test } from "vitest";
import { startRedis, type RedisNode } from "../../infra/services/redis.js";
import { startProxy, type FaultProxy } from "../support/fault-proxy.js";

let node: RedisNode;

beforeAll(async () => {
  node = await startRedis();
});
beforeEach(async () => {
  await node.command("FLUSHALL");
});
afterAll(() => node.close());

async function proxied(): Promise<FaultProxy> {
  const proxy = await startProxy(node.port);
  onTestFinished(() => proxy.close());
  return proxy;
}

async function clientOf(
  proxy: FaultProxy,
  options: Omit<RedisOptions, "replyMapping"> = {},
): Promise<Redis> {
  const client = new Redis({
    port: proxy.port,
    host: "127.0.0.1",
    lazyConnect: true,
    maxRetriesPerRequest: 0,
    retryStrategy: () => 5,
    ...options,
  });
  client.on("error", () => undefined);
  onTestFinished(() => client.disconnect());
  await client.connect();
  return client;
}

/** `once` of node:events would reject at the "error" that comes first. */
function next(client: Redis, event: "close" | "end" | "ready"): Promise<void> {
  return new Promise((resolve) => {
    client.once(event, resolve);
  });
}

function names(command: string): (bytes: Buffer) => boolean {
  return (bytes) => bytes.includes(`\r\n${command}\r\n`);
}

describe("counting", () => {
  test("commands by name, without those that set a connection up", async () => {
    const proxy = await proxied();
    const client = await clientOf(proxy);

    await client.set("a", "1");
    await client.get("a");
    await client.get("b");

    expect(proxy.traffic).toEqual({
      requests: { SET: 1, GET: 2 },
      replies: { SET: 1, GET: 2 },
      roundTrips: 3,
    });
    expect(proxy.connections).toBe(1);
    proxy.resetTraffic();
    expect(proxy.traffic).toEqual({ requests: {}, replies: {}, roundTrips: 0 });
  });

  test("a pipeline is one round trip; large and nested replies are one reply each", async () => {
    const proxy = await proxied();
    const client = await clientOf(proxy);
    const large = "x".repeat(300_000);

    await client.set("large", large);
    const results = await client
      .pipeline()
      .get("large")
      .hset("h", "f", "v")
      .hgetall("h")
      .get("-")
      .exec();

    expect(results?.[0]?.[1]).toBe(large);
    expect(proxy.traffic.replies).toEqual({ SET: 1, GET: 2, HSET: 1, HGETALL: 1 });
    expect(proxy.traffic.roundTrips).toBe(2);
  });

  test("connections that end are not counted on", async () => {
    const proxy = await proxied();
    const client = await clientOf(proxy);

    client.disconnect();
    await proxy.until(() => proxy.connections === 0);

    expect(proxy.held).toBe(0);
  });
});

test("delay: both directions, in order", async () => {
  const proxy = await proxied();
  const client = await clientOf(proxy);
  proxy.delay(20, 30);

  const start = performance.now();
  const answers = await Promise.all([client.incr("n"), client.incr("n"), client.incr("n")]);

  expect(performance.now() - start).toBeGreaterThanOrEqual(49);
  expect(answers).toEqual([1, 2, 3]);
});

test("dropRequests: the server never hears it; healing resets the connection that lost bytes", async () => {
  const proxy = await proxied();
  const client = await clientOf(proxy, {
    commandTimeout: 50,
    autoResendUnfulfilledCommands: false,
  });
  proxy.dropRequests();

  await expect(client.incr("n")).rejects.toThrow("timed out");
  const closed = next(client, "close");
  await proxy.heal();
  await closed;
  await next(client, "ready");

  expect(await client.incr("n")).toBe(1);
});

test("dropReplies: the server executes, the client does not hear it", async () => {
  const proxy = await proxied();
  const client = await clientOf(proxy, { commandTimeout: 50 });
  proxy.dropReplies();

  await expect(client.incr("n")).rejects.toThrow("timed out");
  await proxy.until(() => proxy.traffic.replies["INCR"] === 1);

  expect(await node.command("GET", "n")).toBe("1");
});

test("cutAfterRequest: once, after the server has executed, before its reply is delivered", async () => {
  const proxy = await proxied();
  const client = await clientOf(proxy);
  const cut = proxy.cutAfterRequest(names("incr"));

  await client.set("other", "1");
  await expect(client.incr("n")).rejects.toThrow("max retries");
  await cut;

  expect(await node.command("GET", "n")).toBe("1");
  expect(await client.incr("n")).toBe(2);
});

test("cutAfterRequest: of a pipeline only what comes up to the match is executed", async () => {
  const proxy = await proxied();
  const client = await clientOf(proxy, { autoResendUnfulfilledCommands: false });
  const cut = proxy.cutAfterRequest(names("b"));

  const lost = client.pipeline().incr("a").incr("b").incr("c").exec();
  await Promise.all([cut, lost.catch(() => undefined)]);

  expect(await node.command("MGET", "a", "b", "c")).toEqual(["1", "1", null]);
});

test("hold and release: a request arrives after its client has gone", async () => {
  const proxy = await proxied();
  const client = await clientOf(proxy);
  proxy.hold(names("set"));

  expect(await client.incr("passes")).toBe(1);
  const lost = client.set("late", "1");
  await proxy.until(() => proxy.held === 1);
  client.disconnect();
  await expect(lost).rejects.toThrow("Connection is closed");
  await proxy.until(() => proxy.connections === 0);
  expect(await node.command("GET", "late")).toBeNull();

  await proxy.release();

  expect(await node.command("GET", "late")).toBe("1");
});

test("hold and release: a patient client gets its reply", async () => {
  const proxy = await proxied();
  const client = await clientOf(proxy);
  proxy.hold();
  const answer = client.incr("n");
  await proxy.until(() => proxy.held === 1);

  await proxy.release();

  expect(await answer).toBe(1);
});

test("refuse: open connections are reset, new ones refused, until healed", async () => {
  const proxy = await proxied();
  const client = await clientOf(proxy);
  const refused = new Promise<string>((resolve) => {
    client.on("error", ({ message }: Error) => {
      if (message.includes("ECONNREFUSED")) resolve(message);
    });
  });

  await proxy.refuse();
  expect(await refused).toContain(`${proxy.port}`);
  await proxy.heal();
  await next(client, "ready");

  expect(await client.ping()).toBe("PONG");
});

test("hang: connections are taken, nothing moves, requests arrive when healed", async () => {
  const proxy = await proxied();
  const client = await clientOf(proxy, { commandTimeout: 50 });
  proxy.hang();

  await expect(client.incr("n")).rejects.toThrow("timed out");
  expect(await node.command("GET", "n")).toBeNull();
  await proxy.heal();
  await proxy.until(() => proxy.traffic.replies["INCR"] === 1);

  expect(await node.command("GET", "n")).toBe("1");
});

test("reset: everybody connected is cut off once", async () => {
  const proxy = await proxied();
  const client = await clientOf(proxy);
  const closed = next(client, "close");

  proxy.reset();
  await closed;
  await next(client, "ready");

  expect(await client.ping()).toBe("PONG");
});

test("a server that is down or dies is seen as such", async () => {
  const mine = await startRedis();
  onTestFinished(() => mine.close());
  const proxy = await startProxy(mine.port);
  onTestFinished(() => proxy.close());
  const client = await clientOf(proxy, { retryStrategy: null });
  const ended = next(client, "end");

  await mine.kill();
  await ended;

  await expect(clientOf(proxy, { retryStrategy: null })).rejects.toThrow("Connection is closed");
});
