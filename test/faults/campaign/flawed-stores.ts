/** Stores with one flaw each, as they are met in the field. A campaign that does not catch them proves nothing. */
import { randomUUID } from "node:crypto";
import type { Cluster, Redis } from "ioredis";
import type { Lease, LockResult, SetResult, Store } from "../../../src/store.js";
import { decodeRecord, encodeRecord } from "../../../stores/record.js";
import { RedisEndpoint } from "../../../stores/redis/endpoint.js";
import { recordValue } from "../../../stores/redis/value.js";
import { redisStore } from "../../../stores/redis.js";
import { redlockStore } from "../../../stores/redlock.js";
import type { Violation } from "../history.js";

type Client = Redis | Cluster;

export interface FlawedStore {
  /** In words, for reports. */
  readonly flaw: string;
  /** The promise that it breaks wherever the flaw shows; others break as well, some of the time. */
  readonly breaks: Violation["promise"];
  /** What it runs on. */
  readonly base: "redis" | "redlock";
  open(clients: readonly Client[]): Store;
}

const PREFIX = "idempotency:";
const QUIET = { onReport: () => {} };

export const FLAWED_STORES: Readonly<Record<string, FlawedStore>> = {
  naive: {
    flaw: "SET NX without a token, unconditional SET and DEL",
    breaks: "P1",
    base: "redis",
    open: ([client]) => naiveStore(present(client)),
  },
  ownerless: {
    flaw: "set does not ask whose lock it replaces",
    breaks: "P1",
    base: "redis",
    open: ([client]) => ownerlessStore(present(client)),
  },
  overwriting: {
    flaw: "set overwrites a record that is there",
    breaks: "P1",
    base: "redis",
    open: ([client]) => overwritingStore(present(client)),
  },
  endless: {
    flaw: "a lease without an end",
    breaks: "P4",
    base: "redis",
    open: ([client]) => endlessStore(present(client)),
  },
  hasty: {
    flaw: "one node of three is enough to answer",
    breaks: "P3",
    base: "redlock",
    open: (clients) => hastyStore(clients),
  },
};

/** As most kits do it: look, then lock with a constant, then write and delete whatever is there. */
function naiveStore(client: Client): Store {
  const lockOf = (key: string): string => `${PREFIX}${key}:lock`;
  const get = async (key: string) => {
    const found = await client.getBuffer(PREFIX + key);
    return found === null ? undefined : decodeRecord(found).response;
  };
  return {
    get,
    async lock(key, fingerprint, leaseMs): Promise<LockResult> {
      const response = await get(key);
      if (response !== undefined) return { state: "completed", response };
      const validUntil = performance.now() + leaseMs;
      const granted = await client.set(lockOf(key), "locked", "PX", leaseMs, "NX");
      if (granted === null) return { state: "in-progress", retryAfterMs: leaseMs };
      return { state: "acquired", lease: { key, token: randomUUID(), fingerprint, validUntil } };
    },
    extend: async ({ key }, leaseMs) => (await client.pexpire(lockOf(key), leaseMs)) === 1,
    async set({ key, token }, response, ttlMs): Promise<SetResult> {
      await client.set(PREFIX + key, encodeRecord({ token, response }), "PX", ttlMs);
      await client.del(lockOf(key));
      return { state: "stored" };
    },
    async unlock({ key }) {
      await client.del(lockOf(key));
    },
    delete: async (key) => (await client.del(PREFIX + key)) === 1,
  };
}

/** Writes the record where `mayReplace` lets it, whoever holds the key. */
function writing(client: Client, mayReplace: (found: Buffer | null) => boolean): Store["set"] {
  return async ({ key, token }, response, ttlMs) => {
    const name = PREFIX + key;
    if (!mayReplace(await client.getBuffer(name))) return { state: "stored" };
    await client.set(name, recordValue({ token, response }), "PX", ttlMs);
    return { state: "stored" };
  };
}

const isRecord = (found: Buffer | null): boolean => found?.toString("latin1", 0, 1) === "R";

/** A stale holder writes over its successor's lock, whose execution is then answered with nobody the wiser. */
function ownerlessStore(client: Client): Store {
  return { ...redisStore(client, QUIET), set: writing(client, (found) => !isRecord(found)) };
}

function overwritingStore(client: Client): Store {
  const store = redisStore(client, QUIET);
  const overwrite = writing(client, isRecord);
  return {
    ...store,
    async set(lease, response, ttlMs) {
      const result = await store.set(lease, response, ttlMs);
      return result.state === "stored" ? result : await overwrite(lease, response, ttlMs);
    },
  };
}

function endlessStore(client: Client): Store {
  const store = redisStore(client, QUIET);
  return {
    ...store,
    async lock(key, fingerprint, leaseMs) {
      const result = await store.lock(key, fingerprint, leaseMs);
      if (result.state === "acquired") await client.persist(PREFIX + key);
      return result;
    },
    async extend(lease, leaseMs) {
      const held = await store.extend(lease, leaseMs);
      if (held) await client.persist(PREFIX + lease.key);
      return held;
    },
  };
}

/** Writes to one node after another until one has the record. */
function hastyStore(clients: readonly Client[]): Store {
  const endpoints = clients.map(
    (client) => new RedisEndpoint(client, { prefix: PREFIX, minReplicas: 0, replicaTimeoutMs: 0 }),
  );
  return {
    ...redlockStore(clients, QUIET),
    async set({ key, token }: Lease, response, ttlMs): Promise<SetResult> {
      const record = recordValue({ token, response });
      const first = Math.floor(Math.random() * endpoints.length);
      for (const endpoint of [...endpoints.slice(first), ...endpoints.slice(0, first)]) {
        const found = await endpoint.store(key, token, record, ttlMs).catch(() => undefined);
        if (found === "stored") return { state: "stored" };
      }
      return { state: "lost" };
    },
  };
}

function present(client: Client | undefined): Client {
  if (client === undefined) throw new Error("This store needs a client.");
  return client;
}
