/** A quorum to do things to: each node behind a proxy of its own, and as many stores on it as there are processes. */
import { randomUUID } from "node:crypto";
import type { Redis } from "ioredis";
import { expect, onTestFinished } from "vitest";
import type { RedisNode } from "../../infra/services/redis.js";
import type { CachedResponse, LockResult, Store } from "../../src/index.js";
import { answer, FINGERPRINT, LONG_MS } from "../../src/testing/stage.js";
import { connectRedis, ready, type ConnectOverrides } from "../../stores/redis/connect.js";
import { RedisEndpoint } from "../../stores/redis/endpoint.js";
import type { OnReport } from "../../stores/redis/report.js";
import { recordValue } from "../../stores/redis/value.js";
import { redlockStore, type RedlockOptions } from "../../stores/redlock.js";
import { proxyTo } from "../redis/clients.js";
import { deferred } from "../support/deferred.js";
import type { FaultProxy } from "../support/fault-proxy.js";

/** Long enough for any answer on loopback, short enough to wait for it to pass. */
export const NODE_TIMEOUT_MS = 250;

/** What a machine busy with other things may add to any time that is measured here. */
export const SLACK_MS = 1_500;

/** What nodes promise is told elsewhere. */
export const QUIET: RedlockOptions = { onReport: () => {} };

export const PREFIX = "idempotency:";

export interface Party {
  readonly store: Store;
  readonly clients: readonly Redis[];
  /** One before each node; none for a party that is connected directly. */
  readonly proxies: readonly FaultProxy[];
  /** Resolves when all of its clients are connected. */
  readonly ready: () => Promise<void>;
}

export interface PartyOptions extends RedlockOptions {
  /** Options of ioredis over those of `connectRedis`. */
  readonly connect?: ConnectOverrides;
}

/** For tests of the store's own deadlines: the driver's come much later. */
export const PATIENT: ConnectOverrides = { commandTimeout: 60_000, socketTimeout: 60_000 };

/** A process of its own, connected directly. */
export function party(nodes: readonly RedisNode[], options: PartyOptions = {}): Promise<Party> {
  return connectTo(
    nodes.map(({ port }) => port),
    [],
    options,
  );
}

/** A process of its own, with everything that a network can do to it. */
export async function proxied(
  nodes: readonly RedisNode[],
  options: PartyOptions = {},
): Promise<Party> {
  const proxies = await Promise.all(nodes.map(({ port }) => proxyTo(port)));
  const ports = proxies.map(({ port }) => port);
  const connectedParty = await connectTo(ports, proxies, options);
  for (const proxy of proxies) proxy.resetTraffic();
  return connectedParty;
}

async function connectTo(
  ports: readonly number[],
  proxies: readonly FaultProxy[],
  { connect = {}, ...options }: PartyOptions,
): Promise<Party> {
  const clients = ports.map((port) => connectRedis(`redis://127.0.0.1:${port}`, connect) as Redis);
  onTestFinished(() => {
    for (const client of clients) client.disconnect();
  });
  const allReady = async (): Promise<void> => {
    await Promise.all(clients.map((client) => ready(client)));
  };
  await allReady();
  const { store, reported } = reporting(clients, options);
  // The store asks each node what it promises: that is over before a test counts or disturbs any traffic.
  await reported;
  return { store, clients, proxies, ready: allReady };
}

function reporting(clients: readonly Redis[], options: RedlockOptions) {
  const all = deferred();
  let reports = 0;
  const onReport: OnReport = (report) => {
    options.onReport?.(report);
    // Of a loss it is told besides.
    if (report.lostAt === undefined) reports += 1;
    if (reports === clients.length) all.resolve();
  };
  const store = redlockStore(clients, { nodeTimeoutMs: NODE_TIMEOUT_MS, ...options, onReport });
  return { store, reported: all.promise };
}

export function freshKey(): string {
  return randomUUID();
}

/** Lets every node know the scripts, so that each verb is one command. */
export async function warm(nodes: readonly RedisNode[]): Promise<void> {
  const clients = nodes.map(({ url }) => connectRedis(url) as Redis);
  await Promise.all(clients.map((client) => ready(client)));
  const store = redlockStore(clients, QUIET);
  const lease = await acquired(store.lock("warm", FINGERPRINT, LONG_MS));
  await store.extend(lease, LONG_MS);
  await store.set(lease, answer(), LONG_MS);
  await store.unlock(lease);
  await store.delete("warm");
  for (const client of clients) client.disconnect();
}

export async function acquired(claim: Promise<LockResult>) {
  const result = await claim;
  if (result.state !== "acquired") expect.fail(`The claim was ${result.state}.`);
  return result.lease;
}

export async function completed(claim: Promise<LockResult>): Promise<CachedResponse> {
  const result = await claim;
  if (result.state !== "completed") expect.fail(`The claim was ${result.state}.`);
  return result.response;
}

/** What a writer leaves behind that died on its way: its record on some nodes only. */
export async function plant(
  nodes: readonly RedisNode[],
  key: string,
  { token, response, ttlMs = LONG_MS }: Planted,
): Promise<void> {
  for (const node of nodes) {
    const client = connectRedis(node.url);
    await ready(client);
    const endpoint = new RedisEndpoint(client, {
      prefix: PREFIX,
      minReplicas: 0,
      replicaTimeoutMs: 0,
    });
    expect(await endpoint.store(key, token, recordValue({ token, response }), ttlMs)).toBe(
      "lapsed",
    );
    client.disconnect();
  }
}

interface Planted {
  readonly token: string;
  readonly response: CachedResponse;
  readonly ttlMs?: number;
}

/** What stands on each node: `L…` a lock, `R` a record, nothing. */
export async function standing(nodes: readonly RedisNode[], key: string): Promise<string[]> {
  const values = await Promise.all(nodes.map((node) => node.command("GET", PREFIX + key)));
  return values.map((value) => (typeof value === "string" ? value.slice(0, 1) : "-"));
}

export function failure(operation: Promise<unknown>): Promise<Error & { code?: string }> {
  return operation.then(
    (value) => expect.fail(`It should have failed, and is ${JSON.stringify(value)}.`),
    (error: Error) => error,
  );
}

/** The three parts of a triple or more, without a question mark at each. */
export function three<T>(all: readonly T[]): [T, T, T] {
  const [first, second, third] = all;
  if (first === undefined || second === undefined || third === undefined) {
    throw new Error("There should be three.");
  }
  return [first, second, third];
}
