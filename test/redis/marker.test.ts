/** The marker by itself: what it takes for a loss, what word it leaves, and when it looks at whom. */
import { once } from "node:events";
import type { Redis } from "ioredis";
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from "vitest";
import { startRedis, type RedisNode } from "../../infra/services/redis.js";
import { connectRedis } from "../../stores/redis.js";
import { connected, count, named, ownMarker, proxyTo, watching } from "./clients.js";

const FOREIGN = /not written by idempotency-kit.*prefix/;
const AN_HOUR_MS = 3_600_000;

let node: RedisNode;

beforeAll(async () => {
  node = await startRedis();
});
afterAll(() => node.close());

/** A process that has seen the server's marker, and connects again only when it is told to. */
async function remembering(prefix: string, port = node.port) {
  const client = (await connected(port, { retryStrategy: null })) as Redis;
  const { marker, losses } = watching(client, { prefix });
  await marker.look();
  return { client, marker, losses };
}

async function close(client: Redis): Promise<void> {
  const ended = once(client, "end");
  client.disconnect();
  await ended;
}

async function reconnect(client: Redis): Promise<void> {
  await close(client);
  await client.connect();
}

describe("the first look", () => {
  test("is not at a client that is not connected, nor does it connect one", () => {
    const client = connectRedis(node.url, { lazyConnect: true });
    onTestFinished(() => client.disconnect());

    const { marker } = watching(client, ownMarker());

    expect(client.status).toBe("wait");
    expect(marker).toMatchObject({ isSeen: false, bornAt: undefined, lostAt: -Infinity });
  });

  test("is at once where the client is connected, and asks a single server for one name", async () => {
    const { prefix, name } = ownMarker();
    const client = await connected(node.port);
    await node.command("CONFIG", "RESETSTAT");

    const { marker, losses } = watching(client, { prefix });

    await expect.poll(() => marker.isSeen).toBe(true);
    await marker.firstLook;
    expect(await count(node, "get")).toBe(1);
    expect(await node.command("GET", name)).toMatch(new RegExp(`^\\S+ ${marker.bornAt} new$`));
    expect(losses).toEqual([]);
  });

  test("finds a marker: nobody is asked whether the server may be new", async () => {
    const { prefix } = ownMarker();
    const { marker: first } = await remembering(prefix);
    const mayBeNew = vi.fn<() => Promise<boolean>>().mockRejectedValue(new Error("Too few."));

    const { marker, losses } = watching(await connected(node.port), { prefix, mayBeNew });
    await marker.look();

    expect(marker).toMatchObject({ isSeen: true, bornAt: first.bornAt });
    expect(mayBeNew).not.toHaveBeenCalled();
    expect(losses).toEqual([]);
  });

  test("finds none where the server cannot be new: a loss, and news; who comes later hears of it as old", async () => {
    const { prefix, name } = ownMarker();
    const mayBeNew = () => Promise.resolve(false);

    const first = watching(await connected(node.port), { prefix, mayBeNew });
    await first.marker.look();
    const later = watching(await connected(node.port), { prefix });
    await later.marker.look();

    const lostAt = new Date(first.marker.bornAt ?? Number.NaN);
    expect(first.losses).toEqual([{ lostAt, isOld: false }]);
    expect(later.losses).toEqual([{ lostAt, isOld: true }]);
    expect(await node.command("GET", name)).toMatch(/ lost$/);
  });

  test("finds word of a loss: the time is that of the marker", async () => {
    const { prefix, name } = ownMarker();
    const lostAt = Date.now() - AN_HOUR_MS;
    await node.command("SET", name, `generation ${lostAt} lost`);

    const { marker, losses } = watching(await connected(node.port), { prefix });
    await marker.look();

    expect(losses).toEqual([{ lostAt: new Date(lostAt), isOld: true }]);
    const agoMs = performance.now() - marker.lostAt;
    // By two clocks, one of which counts in whole milliseconds.
    expect(agoMs).toBeGreaterThan(AN_HOUR_MS - 10);
    expect(agoMs).toBeLessThan(2 * AN_HOUR_MS);
  });

  test("leaves the marker of a process that was faster", async () => {
    const { prefix, name } = ownMarker();
    let faster: unknown;
    const mayBeNew = async () => {
      await remembering(prefix);
      faster = await node.command("GET", name);
      return true;
    };

    const { marker, losses } = watching(await connected(node.port), { prefix, mayBeNew });
    await marker.look();

    expect(faster).toMatch(/ new$/);
    expect(await node.command("GET", name)).toBe(faster);
    expect(losses).toEqual([]);
  });

  test("does not count where the connection broke meanwhile", async () => {
    const client = (await connected(node.port)) as Redis;
    const mayBeNew = async () => {
      await reconnect(client);
      return true;
    };

    const { marker, losses } = watching(client, { ...ownMarker(), mayBeNew });

    await expect(marker.look()).rejects.toThrow("Redis was disconnected meanwhile.");
    expect(marker.isSeen).toBe(false);
    await marker.look();
    expect(marker.isSeen).toBe(true);
    expect(losses).toEqual([]);
  });

  test.each([
    ["a time without a kind", "generation 1700000000000"],
    ["a time with another kind", "generation 1700000000000 old"],
    ["a kind with an empty time", "generation  new"],
    ["a kind with a time that is none", "generation yesterday lost"],
    ["a kind with the time 0", "generation 0 new"],
  ])("finds what another program wrote, %s: it is refused, and stays", async (_, text) => {
    const { prefix, name } = ownMarker();
    await node.command("SET", name, text);

    const { marker, losses } = watching(await connected(node.port), { prefix });

    await expect(marker.look()).rejects.toThrow(FOREIGN);
    expect(marker).toMatchObject({ isSeen: false, bornAt: undefined });
    expect(losses).toEqual([]);
    expect(await node.command("GET", name)).toBe(text);
  });
});

describe("a server that was emptied", () => {
  test("is news to every process that knew it; only the first one writes", async () => {
    const { prefix, name } = ownMarker();
    const [first, second] = [await remembering(prefix), await remembering(prefix)];
    await node.command("DEL", name);

    await reconnect(first.client);
    await first.marker.look();
    await node.command("CONFIG", "RESETSTAT");
    await reconnect(second.client);
    await second.marker.look();

    expect(first.losses).toEqual([{ lostAt: expect.any(Date), isOld: false }]);
    expect(second.losses).toEqual(first.losses);
    expect(await count(node, "set")).toBe(0);
  });

  test("is not taken for new where the process that noticed died as it left word", async () => {
    const { prefix, name } = ownMarker();
    const proxy = await proxyTo(node.port);
    const { client } = await remembering(prefix, proxy.port);
    await node.command("DEL", name);

    const cut = proxy.cutAfterRequest(named("SET"));
    await reconnect(client);
    await cut;
    const { marker, losses } = watching(await connected(node.port), { prefix });
    await marker.look();

    expect(losses).toEqual([{ lostAt: expect.any(Date), isOld: true }]);
  });
});

describe("a server that cannot be looked at", () => {
  /** Connected to a server that has another program's marker; time passes as the test says from now on. */
  async function refused() {
    const { prefix, name } = ownMarker();
    await node.command("SET", name, "anything");
    const client = (await connected(node.port)) as Redis;
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    onTestFinished(() => void vi.useRealTimers());
    return { client, prefix };
  }

  test("is asked once a second, however often it is connected anew", async () => {
    const { client, prefix } = await refused();
    await node.command("CONFIG", "RESETSTAT");
    const looks = async () => {
      // Whatever was sent before has been answered.
      await client.ping();
      return await count(node, "get");
    };

    watching(client, { prefix });
    await expect.poll(looks).toBe(1);
    await vi.advanceTimersByTimeAsync(600);
    await reconnect(client);
    await expect.poll(looks).toBe(2);
    await vi.advanceTimersByTimeAsync(400);
    await expect.poll(looks).toBe(3);
    // A second after the second look, but not after the third.
    await vi.advanceTimersByTimeAsync(600);

    expect(await looks()).toBe(3);
  });

  test("is let alone once its client is closed", async () => {
    const { client, prefix } = await refused();
    const { marker } = watching(client, { prefix });
    await expect(marker.look()).rejects.toThrow(FOREIGN);
    expect(vi.getTimerCount()).toBe(1);

    await close(client);
    await vi.advanceTimersByTimeAsync(5_000);

    expect(vi.getTimerCount()).toBe(0);
  });
});
