/** The store contract on encrypted stores: over memory, a store with commit, one Redis, and a quorum. */
import type { Redis } from "ioredis";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import {
  startMasters,
  startRedis,
  type RedisMasters,
  type RedisNode,
} from "../../infra/services/redis.js";
import { commitContract, storeContract } from "../../src/testing.js";
import { encryptedStore } from "../../stores/encrypted.js";
import { memoryStore } from "../../stores/memory.js";
import { connectRedis, ready, redisStore } from "../../stores/redis.js";
import { redlockStore } from "../../stores/redlock.js";
import { ledgerStore } from "../support/ledger-store.js";
import { rings } from "./keys.js";

const elapse = async (ms: number): Promise<void> => {
  vi.advanceTimersByTime(ms);
};

describe("in this process", () => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ["performance", "Date", "setTimeout", "clearTimeout"] });
  });

  afterEach(() => {
    vi.useRealTimers();
  });

  const overMemory = () => ({ store: encryptedStore(memoryStore(), rings.first), elapse });
  const overLedger = () => ({ store: encryptedStore(ledgerStore(), rings.first), elapse });

  storeContract("encrypted memory", overMemory, { describe, it });
  storeContract("encrypted memory with a ledger", overLedger, { describe, it });
  commitContract("encrypted memory with a ledger", overLedger, { describe, it });
});

describe("on servers", () => {
  let single: RedisNode;
  let masters: RedisMasters;
  let clients: Redis[];

  beforeAll(async () => {
    [single, masters] = await Promise.all([startRedis(), startMasters(3)]);
    clients = [single.url, ...masters.urls].map((url) => connectRedis(url) as Redis);
    await Promise.all(clients.map((client) => ready(client)));
  });

  afterAll(async () => {
    for (const client of clients) client.disconnect();
    await Promise.all([single.close(), masters.close()]);
  });

  const quiet = { onReport: () => {} };
  const onRedis = () => {
    const [client] = clients;
    if (client === undefined) expect.fail("Redis should be there.");
    return { store: encryptedStore(redisStore(client, quiet), rings.first) };
  };
  const onQuorum = () => {
    const store = redlockStore(clients.slice(1), { ...quiet, nodeTimeoutMs: 1_000 });
    return { store: encryptedStore(store, rings.first) };
  };
  // Most of the time they wait for leases to end: they may do that together.
  const together = { describe: describe.concurrent, it: it.concurrent };

  storeContract("encrypted Redis", onRedis, together);
  storeContract("encrypted quorum", onQuorum, together);
});
