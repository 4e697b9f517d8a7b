/** The markers of a Redis Cluster: one on each master, and none holds up the others. */
import type { Cluster, Redis } from "ioredis";
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from "vitest";
import { startCluster, type RedisCluster, type RedisNode } from "../../infra/services/redis.js";
import { connectRedis, type ConnectOverrides } from "../../stores/redis.js";
import { connected, count, ownMarker, watching } from "./clients.js";

const FOREIGN = /not written by idempotency-kit.*prefix/;

test("a Cluster that is not connected is not seen, though it has no master that is unseen", async () => {
  const client = connectRedis("redis+cluster://127.0.0.1:1", { cluster: { lazyConnect: true } });
  onTestFinished(() => client.disconnect());
  const { marker } = watching(client, ownMarker());
  const looked = vi.fn<() => void>();
  void marker.firstLook.then(looked);

  await expect(marker.look()).rejects.toThrow("Redis Cluster is not connected.");

  expect(marker.isSeen).toBe(false);
  expect(looked).not.toHaveBeenCalled();
});

describe("Redis Cluster", () => {
  let cluster: RedisCluster;
  let masters: [RedisNode, RedisNode, RedisNode];

  beforeAll(async () => {
    // With TLS, a client is still connecting to a server that hangs, and no connection breaks.
    cluster = await startCluster({ tls: true });
    masters = cluster.masters as typeof masters;
    const stay = ["CONFIG", "SET", "cluster-replica-no-failover", "yes"] as const;
    await Promise.all(cluster.replicas.map((replica) => replica.command(...stay)));
  });
  afterAll(() => cluster.close());

  const trusting = () => ({ tls: { ca: String(cluster.ca) } });

  /** No event is to come any more: every node that it knows is connected. */
  async function settled(overrides: ConnectOverrides = {}): Promise<Cluster> {
    const client = (await connected(cluster.url, { ...trusting(), ...overrides })) as Cluster;
    await expect.poll(() => client.nodes().every(({ status }) => status === "ready")).toBe(true);
    return client;
  }

  function connectionTo(client: Cluster, { port }: RedisNode): Redis | undefined {
    return client.nodes("master").find(({ options }) => options.port === port);
  }

  async function markersOn(master: RedisNode, prefix: string): Promise<string[]> {
    return (await master.command("KEYS", `*${prefix}marker*`)) as string[];
  }

  function refresh(client: Cluster): Promise<void> {
    return new Promise((resolve, reject) => {
      client.refreshSlotsCache((error) => (error ? reject(error) : resolve()));
    });
  }

  test("a refresh that finds the masters that were seen raises no doubt", async () => {
    const client = await settled();
    const { marker } = watching(client, ownMarker());
    await marker.look();
    const seen: boolean[] = [];
    client.once("refresh", () => void seen.push(marker.isSeen));

    await refresh(client);

    expect(seen).toEqual([true]);
  });

  test("when a master is connected anew, no other is asked", async () => {
    const [other, broken] = masters;
    const client = await settled();
    const { marker } = watching(client, ownMarker());
    await marker.look();
    await Promise.all([other, broken].map((it) => it.command("CONFIG", "RESETSTAT")));

    connectionTo(client, broken)?.disconnect();
    await expect.poll(() => connectionTo(client, broken)).toBe(undefined);
    expect(marker.isSeen).toBe(false);
    await refresh(client);
    await expect.poll(() => connectionTo(client, broken)?.status).toBe("ready");
    await expect.poll(() => marker.isSeen).toBe(true);

    expect(await count(broken, "get")).toBeGreaterThan(0);
    expect(await count(other, "get")).toBe(0);
  });

  test("what another program wrote on one master is refused, whatever stands on the others", async () => {
    const { prefix } = ownMarker();
    await watching(await settled(), { prefix }).marker.look();
    await masters[0].command("SET", String(await markersOn(masters[0], prefix)), "anything");

    const { marker } = watching(await settled(), { prefix });

    await expect(marker.look()).rejects.toThrow(FOREIGN);
    expect(marker.isSeen).toBe(false);
  });

  test("a master without a marker is a new one where another has one", async () => {
    const { prefix } = ownMarker();
    await watching(await settled(), { prefix }).marker.look();
    await masters[0].command("DEL", String(await markersOn(masters[0], prefix)));

    const mayBeNew = () => Promise.resolve(false);
    const { marker, losses } = watching(await settled(), { prefix, mayBeNew });
    await marker.look();

    expect(await markersOn(masters[0], prefix)).toHaveLength(1);
    expect(losses).toEqual([]);
  });

  test("what nodes put before keys by themselves is not put there twice", async () => {
    const { prefix } = ownMarker();

    await watching(await settled({ keyPrefix: "app:" }), { prefix }).marker.look();

    const names = await markersOn(masters[0], prefix);
    expect(names).toEqual([expect.stringMatching(`^app:${prefix}marker`)]);
  });

  test("a node that serves none of the names is not watched: nothing is written to it", async () => {
    // By a client of this node alone: its one name is served by another. An empty name would be its own.
    const client = await connected(masters[0].url, trusting());
    const keys = await masters[0].command("DBSIZE");
    const { marker } = watching(client, ownMarker());

    await marker.look();

    expect(marker).toMatchObject({ isSeen: true, bornAt: undefined });
    expect(await masters[0].command("DBSIZE")).toBe(keys);
  });

  // The last one: it takes the others a while to see that the master is back.
  test("a master that cannot be reached does not hold up the others, and is looked at as soon as it can", async () => {
    const [first, , hung] = masters;
    const { prefix } = ownMarker();
    await hung.stop();
    onTestFinished(() => hung.resume());
    const client = connectRedis(`rediss+cluster://127.0.0.1:${first.port}`, {
      ...trusting(),
      commandTimeout: 2_000,
      connectTimeout: 60_000,
      // It asks any master, perhaps the one that hangs.
      cluster: { enableReadyCheck: false },
    }) as Cluster;
    onTestFinished(() => client.disconnect());
    await expect.poll(() => connectionTo(client, hung)?.status).toBe("connecting");
    const others = () => client.nodes().filter(({ options }) => options.port !== hung.port);
    await expect.poll(() => others().every(({ status }) => status === "ready")).toBe(true);
    const { marker } = watching(client, { prefix });

    await marker.look();
    expect(marker.isSeen).toBe(true);
    const asked = vi.spyOn(connectionTo(client, hung) as Redis, "pipeline");
    await marker.look();
    expect(asked).not.toHaveBeenCalled();

    // Nor does anybody wait for it when the Cluster's nodes are listed anew.
    await refresh(client);
    expect(marker.isSeen).toBe(true);

    // Where another connection breaks, it alone is left to be looked at.
    connectionTo(client, first)?.disconnect();
    await expect.poll(() => marker.isSeen).toBe(false);
    await marker.look();
    expect(asked).toHaveBeenCalledOnce();
    expect(marker.isSeen).toBe(true);

    hung.resume();

    await expect.poll(() => markersOn(hung, prefix)).toHaveLength(1);
  });
});
