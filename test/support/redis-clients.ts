/** Clients of connectRedis and servers for one test, and how long a command may take to fail. */
import type { Cluster, Redis } from "ioredis";
import { expect, onTestFinished, vi } from "vitest";
import { startRedis, type RedisNode, type RedisNodeOptions } from "../../infra/services/redis.js";
import { until } from "../../infra/services/until.js";
import * as current from "../../stores/redis/connect.js";
import { startProxy, type FaultProxy } from "./fault-proxy.js";

/** Slow machines included; what takes a time-out takes 500 ms. */
export const AT_ONCE_MS = 100;
export const ONE_TIMEOUT_MS = 500 + AT_ONCE_MS;

export function closing<T extends Redis | Cluster>(client: T): T {
  onTestFinished(() => client.disconnect());
  return client;
}

export async function connected(
  url: string,
  overrides?: current.ConnectOverrides,
): Promise<Redis | Cluster> {
  const client = closing(current.connectRedis(url, overrides));
  await current.ready(client);
  return client;
}

export async function started(options?: RedisNodeOptions): Promise<RedisNode> {
  const node = await startRedis(options);
  onTestFinished(() => node.close());
  return node;
}

export async function proxied(port: number): Promise<FaultProxy> {
  const proxy = await startProxy(port);
  onTestFinished(() => proxy.close());
  return proxy;
}

/** How long a command took to fail. */
export async function failureMs(command: Promise<unknown>): Promise<number> {
  const start = performance.now();
  await expect(command).rejects.toThrow(/./);
  return performance.now() - start;
}

export function recovered(client: Redis | Cluster, key = "key"): Promise<void> {
  return until("recovered", () => client.set(key, "1").then(Boolean, () => false));
}

/** The module as it is, and on top of ioredis 5. */
export const IOREDIS_VERSIONS = [
  ["6", () => Promise.resolve(current)],
  ["5", withIoredis5],
] as const;

async function withIoredis5(): Promise<typeof current> {
  vi.resetModules();
  vi.doMock("ioredis", () => import("ioredis5"));
  onTestFinished(() => vi.doUnmock("ioredis"));
  return await import("../../stores/redis/connect.js");
}
