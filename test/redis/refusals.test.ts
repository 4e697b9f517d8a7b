/** What servers refuse, and what else may stand under a key: always `StoreUnavailableError`, with advice, without secrets. */
import { randomUUID } from "node:crypto";
import { tracingChannel } from "node:diagnostics_channel";
import { once } from "node:events";
import { createServer, type AddressInfo } from "node:net";
import * as fc from "fast-check";
import { Redis, type Cluster } from "ioredis";
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from "vitest";
import { startRedis, type RedisConfig, type RedisNode } from "../../infra/services/redis.js";
import {
  idempotency,
  OptionsError,
  StoreUnavailableError,
  type Lease,
  type Store,
} from "../../src/index.js";
import { acquire, answer, complete, LONG_MS } from "../../src/testing/stage.js";
import { readValue } from "../../stores/redis/value.js";
import { connectRedis, redisStore } from "../../stores/redis.js";
import { commandName, RespReader } from "../support/resp.js";
import { serve } from "../support/http.js";
import { expectNoneOf } from "../support/secrets.js";
import { connected } from "./clients.js";

const KEY = "key-of-a-client-4711";
const FINGERPRINT = "fingerprint-of-a-request-4711";
const BODY = "card 4111 1111 1111 1111";
const PASSWORD = "correct-horse-battery";
const SECRETS = [KEY, FINGERPRINT, BODY, PASSWORD];

// For machines that are slow; what hangs is still found.
vi.setConfig({ testTimeout: 30_000 });

let node: RedisNode;

beforeAll(async () => {
  node = await startRedis();
});
afterAll(() => node.close());

async function started(config: RedisConfig): Promise<RedisNode> {
  const server = await startRedis({ config });
  onTestFinished(() => server.close());
  return server;
}

interface Refusal {
  /** A store on a server in this state, which ends with the test. */
  readonly make: () => Promise<Store>;
  readonly says: RegExp;
  /** Where it is not every claim of every key that is refused. */
  readonly only?: "this key" | "scripts";
}

const REFUSALS: Readonly<Record<string, Refusal>> = {
  "a list under the key": {
    only: "this key",
    says: /WRONGTYPE .*give the store a prefix of its own/,
    make: async () => {
      await node.command("LPUSH", `idempotency:${KEY}`, "of another program");
      onTestFinished(async () => void (await node.command("DEL", `idempotency:${KEY}`)));
      return redisStore(await connected(node.port));
    },
  },
  "a list under the key, where writes wait for replicas": {
    only: "this key",
    says: /WRONGTYPE .*give the store a prefix of its own/,
    make: async () => {
      const client = await connected(node.port);
      // Lets the server know the scripts: without, the set would wait for replicas twice.
      const any = redisStore(client);
      await complete(any, await acquire(any, randomUUID()));
      await node.command("LPUSH", `idempotency:${KEY}`, "of another program");
      onTestFinished(async () => void (await node.command("DEL", `idempotency:${KEY}`)));
      return redisStore(client, { minReplicas: 1 });
    },
  },
  "no memory left": {
    says: /OOM .*raise maxmemory/,
    make: async () => {
      await node.command("CONFIG", "SET", "maxmemory", "1");
      onTestFinished(async () => void (await node.command("CONFIG", "SET", "maxmemory", "0")));
      return redisStore(await connected(node.port));
    },
  },
  "a replica": {
    says: /READONLY .*connect to the master/,
    make: async () => {
      const replica = await started({ replicaof: `127.0.0.1 ${node.port}` });
      return redisStore(await connected(replica.port, { reconnectOnError: null }));
    },
  },
  "a replica that is left, again and again, for its master": {
    says: /READONLY .*connect to the master/,
    make: async () => {
      const replica = await started({ replicaof: `127.0.0.1 ${node.port}` });
      return redisStore(await connected(replica.port));
    },
  },
  "too few replicas for the server": {
    says: /NOREPLICAS .*recovers by itself/,
    make: async () => {
      const server = await started({ "min-replicas-to-write": "1" });
      return redisStore(await connected(server.port));
    },
  },
  "a server that hangs": {
    says: /(Command timed out|Socket timeout).*SLOWLOG/,
    make: async () => {
      const server = await started({});
      const client = await connected(server.port);
      await server.stop();
      return redisStore(client);
    },
  },
  "a server that is gone": {
    says: /ECONNREFUSED.* Check that the server runs/,
    make: async () => await notConnected("redis://127.0.0.1:1"),
  },
  "a Cluster that is gone": {
    says: /Failed to refresh slots cache.* Check that the server runs/,
    make: async () => await notConnected("redis+cluster://127.0.0.1:1"),
  },
  "sentinels that are gone": {
    says: /sentinels are unreachable.* Check that the server runs/,
    make: async () => await notConnected("redis+sentinel://127.0.0.1:1/main"),
  },
  "a cluster without slots": {
    says: /CLUSTERDOWN .*recovers by itself/,
    make: async () => {
      const server = await started({ "cluster-enabled": "yes" });
      return redisStore(await connected(server.port));
    },
  },
  "a password that is missing": {
    says: /NOAUTH .*Check the user, the password/,
    make: async () => {
      const server = await started({ requirepass: PASSWORD });
      return await notConnected(`redis://127.0.0.1:${server.port}`);
    },
  },
  "a wrong password": {
    says: /WRONGPASS .*Check the user, the password/,
    make: async () => {
      const server = await started({ requirepass: "another" });
      return await notConnected(`redis://:${PASSWORD}@127.0.0.1:${server.port}`);
    },
  },
  "a user who may not write": {
    says: /NOPERM .*the ACL of the client/,
    make: async () => {
      const server = await started({ user: `reader on >${PASSWORD} ~* +@all -set -evalsha -eval` });
      return redisStore(await connected(`redis://reader:${PASSWORD}@127.0.0.1:${server.port}`));
    },
  },
  "scripts that are disabled": {
    says: /unknown command 'evalsha'. .*all commands enabled/i,
    only: "scripts",
    make: async () => {
      const server = await started({ "rename-command": ['EVALSHA ""', 'EVAL ""'] });
      return redisStore(await connected(server.port));
    },
  },
  // No older server is at hand, nor a second cluster: the replies are theirs, the server is not.
  "a server older than 7.0": {
    says: /ERR syntax error.*needs Redis 7\.0 or newer/,
    make: async () => redisStore(await connected(await stub("-ERR syntax error"))),
  },
  "a node of a cluster, by a client that is not": {
    says: /MOVED .*connect with a Cluster client/,
    make: async () => redisStore(await connected(await stub("-MOVED 42 127.0.0.1:7001"))),
  },
};

const refusals = Object.entries(REFUSALS);

test.each(refusals)("%s: the error says what to do, and tells no secret", async (_, refusal) => {
  const store = await refusal.make();
  const lease = { key: KEY, token: randomUUID(), fingerprint: FINGERPRINT, validUntil: 0 };
  const response = answer({ body: Buffer.from(BODY), fingerprint: FINGERPRINT });
  const calls = [store.set(lease, response, LONG_MS)].map(failureOf);
  if (refusal.only !== "scripts") calls.push(failureOf(store.lock(KEY, FINGERPRINT, LONG_MS)));

  for (const failure of await Promise.all(calls)) {
    expect(failure).toBeInstanceOf(StoreUnavailableError);
    expect((failure as Error).message).toMatch(refusal.says);
    expect((failure as Error).message).not.toMatch(/\.\./);
    expectNoneOf(SECRETS, failure);
  }
});

test.each(refusals.filter(([, { only }]) => only === undefined))(
  "%s: over http it is 503, and nothing runs",
  async (_, { make }) => {
    const errors: unknown[] = [];
    let runs = 0;
    const safe = idempotency(await make(), { onError: (error) => errors.push(error) });
    await using server = await serve(safe.wrap((_req, res) => res.end(`run ${(runs += 1)}`)));

    const refused = await server.send({ key: KEY, body: BODY });

    expect(refused.status).toBe(503);
    expect(Number(refused.headers["retry-after"])).toBeGreaterThan(0);
    expect(runs).toBe(0);
    expect(errors).toHaveLength(1);
    expectNoneOf(SECRETS, errors);
  },
);

test("with its memory full, a server still renews and releases what is held", async () => {
  const store = redisStore(await connected(node.port));
  const lease = await acquire(store, "held");
  await node.command("CONFIG", "SET", "maxmemory", "1");
  onTestFinished(async () => void (await node.command("CONFIG", "SET", "maxmemory", "0")));

  expect(await store.extend(lease, LONG_MS)).toBe(true);
  await store.unlock(lease);

  expect(await node.command("EXISTS", "idempotency:held")).toBe(0);
});

test("a client that is not connected says why, also where ioredis says only that it is not", async () => {
  const store = await notConnected("redis://127.0.0.1:1");

  const failure = await failureOf(store.lock(KEY, FINGERPRINT, LONG_MS));

  expect(failure).toMatchObject({ message: expect.stringMatching(/writeable .*ECONNREFUSED/) });
});

test("once connected, no failure of the past is told", async () => {
  const server = await started({});
  const client = await connected(server.port);
  const store = redisStore(client);
  await server.kill();
  await new Promise<unknown>((resolve) => client.once("error", resolve));
  await server.restart({ keepData: true });
  await new Promise<void>((resolve) => client.once("ready", resolve));
  const ended = new Promise<void>((resolve) => client.once("end", resolve));
  client.disconnect();
  await ended;

  const failure = await failureOf(store.lock(KEY, FINGERPRINT, LONG_MS));

  expect(failure).toMatchObject({ message: "Redis failed: Connection is closed." });
});

describe("what the kit did not write under a key", () => {
  const values: Readonly<Record<string, (record: Buffer) => Buffer | string>> = {
    "text of another program": () => '{"status":201}',
    "text that begins like a lock": () => "Lorem ipsum dolor sit amet",
    "the mark of a lock alone": () => "L",
    "a lock without its end": () => "L10abcdefghijklmnop",
    "a lock with a lease that is none": () => "L02ab0001%%fingerprint",
    "a lock with a lease of no time": () => "L02ab000000fingerprint",
    "a lock without a fingerprint": () => "L02ab000001",
    "text that begins like a record": () => "Rome",
    "the mark of a record alone": () => "R",
    nothing: () => "",
    "a number": () => "42",
    "half a record": (record) => record.subarray(0, record.length / 2),
    "a record without its last byte": (record) => record.subarray(0, -1),
    "a record and more": (record) => Buffer.concat([record, Buffer.from("x")]),
    "a record under another mark": (record) =>
      Buffer.concat([Buffer.from("X"), record.subarray(1)]),
    "a record of another version": (record) => Buffer.from(record).fill(2, 2, 3),
  };

  test.each(Object.entries(values))(
    "%s is refused and stays, and nothing runs",
    async (_, make) => {
      const client = new Redis(node.port);
      onTestFinished(() => client.disconnect());
      const prefix = `foreign-${randomUUID()}:`;
      const store = redisStore(client, { prefix });
      const lease = await acquire(store, "k");
      await complete(store, lease, answer({ body: Buffer.from(BODY) }));
      const value = Buffer.from(make((await client.getBuffer(`${prefix}k`)) as Buffer));
      await client.set(`${prefix}k`, value);

      for (const failure of [
        await failureOf(store.get("k")),
        await failureOf(store.lock("k", FINGERPRINT, LONG_MS)),
      ]) {
        expect(failure).toBeInstanceOf(StoreUnavailableError);
        expect((failure as Error).message).toMatch(/not written by|damaged|another version/);
        expectNoneOf([BODY, ...(value.length > 4 ? [value.toString("latin1")] : [])], failure);
      }
      await unableToChange(store, lease);

      expect(await client.getBuffer(`${prefix}k`)).toEqual(value);
      await overHttp(client, value);
    },
  );

  async function unableToChange(store: Store, lease: Lease): Promise<void> {
    expect(await store.extend(lease, LONG_MS)).toBe(false);
    await store.unlock(lease);
    const late = { ...lease, token: randomUUID() };
    const outcome = await store.set(late, answer(), LONG_MS).catch((error: unknown) => error);
    expect([{ state: "lost" }, expect.any(StoreUnavailableError)]).toContainEqual(outcome);
  }

  /** Whatever key the request has: the store finds the value there. */
  async function overHttp(client: Redis, value: Buffer): Promise<void> {
    const prefix = `foreign-${randomUUID()}:`;
    const store = redisStore(client, { prefix });
    let runs = 0;
    const lock: Store["lock"] = async (key, ...args) => {
      await client.set(prefix + key, value);
      return await store.lock(key, ...args);
    };
    const safe = idempotency({ ...store, lock }, { onError: () => undefined });
    await using server = await serve(safe.wrap((_req, res) => res.end(`run ${(runs += 1)}`)));
    const refused = await server.send({ key: KEY });
    expect(refused.status).toBe(503);
    expect(refused.headers["retry-after"]).toBe("1");
    expect(runs).toBe(0);
  }

  test("whatever the bytes are, they are a lock, a record, or refused", () => {
    const lock = fc.string({ unit: "binary-ascii", maxLength: 40 }).map((text) => `L${text}`);
    const bytes = fc.oneof(
      fc.uint8Array({ maxLength: 60 }).map((array) => Buffer.from(array)),
      lock.map((text) => Buffer.from(text)),
    );
    fc.assert(
      fc.property(bytes, (value) => {
        expect(["a lock", "a record", "refused"]).toContain(kindOf(value));
      }),
      { numRuns: 2_000 },
    );
  });
});

function kindOf(value: Buffer): string {
  try {
    const read = readValue(value);
    if (read.kind === "record") return "a record";
    return read.leaseMs > 0 && read.token.length > 0 ? "a lock" : "nonsense";
  } catch (error) {
    return error instanceof StoreUnavailableError ? "refused" : String(error);
  }
}

test.each<[what: string, make: () => unknown, says: RegExp]>([
  ["no client", () => redisStore(undefined as unknown as Redis), /client must be an ioredis/],
  ["another driver's", () => redisStore({} as unknown as Redis), /see connectRedis/],
  ["an unknown option", () => redisStore(lazy(), { ttlMs: 1 } as object), /unknown option 'ttlMs'/],
  ["no prefix", () => redisStore(lazy(), { prefix: 1 as unknown as string }), /prefix must be/],
  ["replicas", () => redisStore(lazy(), { minReplicas: -1 }), /minReplicas must be an integer/],
  [
    "a client that gives up before the replicas may",
    () => redisStore(lazy(), { minReplicas: 1, replicaTimeoutMs: 600 }),
    /replicaTimeoutMs \(600\) must be less than the client's commandTimeout \(500\)/,
  ],
  [
    "a Cluster that does",
    () => redisStore(lazyCluster(), { minReplicas: 1, replicaTimeoutMs: 500 }),
    /must be less than the client's commandTimeout \(500\); .*socketTimeout \(500\)/,
  ],
])("%s is refused at construction", (_, make, says) => {
  expect(make).toThrow(OptionsError);
  expect(make).toThrow(says);
});

function lazy(): Redis | Cluster {
  return connectRedis("redis://127.0.0.1:1", { lazyConnect: true });
}

function lazyCluster(): Redis | Cluster {
  return connectRedis("redis+cluster://127.0.0.1:1", { cluster: { lazyConnect: true } });
}

/** A store whose client has failed to connect. */
async function notConnected(url: string): Promise<Store> {
  const client = connectRedis(url);
  onTestFinished(() => client.disconnect());
  const store = redisStore(client);
  await new Promise<unknown>((resolve) => client.once("error", resolve));
  return store;
}

function failureOf(call: Promise<unknown>): Promise<unknown> {
  return call.then(
    (value) => expect.fail(`it succeeded: ${JSON.stringify(value)}`),
    (error: unknown) => error,
  );
}

/** Speaks as much RESP as it takes to get connected, and answers every command of the store alike. */
async function stub(reply: string): Promise<number> {
  const server = createServer((socket) => {
    const reader = new RespReader();
    socket.on("error", () => undefined);
    socket.on("data", (chunk) => {
      for (const command of reader.push(chunk)) socket.write(`${replyTo(command)}\r\n`);
    });
  });
  const replyTo = (command: Buffer): string => {
    const name = commandName(command);
    if (name === "HELLO") return "-NOPROTO unsupported protocol version";
    if (name === "INFO") return "$13\r\nredis_mode:no";
    return name === "SET" || name === "EVALSHA" ? reply : "+OK";
  };
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => void server.close());
  return (server.address() as AddressInfo).port;
}

test("a tracer of ioredis 6 is told the arguments of scripts, and with them bodies: this is documented", async () => {
  const seen: string[] = [];
  const channel = tracingChannel("ioredis:command");
  const start = (context: unknown): void => {
    seen.push(String((context as { args: unknown }).args));
  };
  const subscribers = { start } as unknown as Parameters<typeof channel.subscribe>[0];
  channel.subscribe(subscribers);
  onTestFinished(() => {
    channel.unsubscribe(subscribers);
  });
  const store = redisStore(await connected(node.port), { onReport: () => {} });
  const lease = await acquire(store, randomUUID());

  await store.set(lease, answer({ body: Buffer.from(BODY) }), LONG_MS);

  expect(seen.some((args) => args.includes(BODY))).toBe(true);
});
