/** A quorum that cannot work is refused when it is made, with the reason; no server is needed to see it. */
import { Cluster, Redis } from "ioredis";
import { describe, expect, test } from "vitest";
import { OptionsError } from "../../src/index.js";
import { redlockStore, type RedlockOptions } from "../../stores/redlock.js";

type Client = Redis | Cluster;

/** Never connects. */
function node(host: string, port = 6_379): Redis {
  return new Redis({ host, port, lazyConnect: true });
}

function sentinel(name: string, ...hosts: string[]): Redis {
  return new Redis({ name, sentinels: hosts.map((host) => ({ host })), lazyConnect: true });
}

function cluster(...startupNodes: ConstructorParameters<typeof Cluster>[0]): Cluster {
  return new Cluster(startupNodes, { lazyConnect: true });
}

function mistakesOf(clients: unknown, options?: unknown): readonly string[] {
  try {
    redlockStore(clients as Client[], { onReport: () => {}, ...(options as RedlockOptions) });
    return [];
  } catch (error) {
    if (!(error instanceof OptionsError)) throw error;
    return error.mistakes;
  }
}

function nodes(count: number): Redis[] {
  return Array.from({ length: count }, (_, at) => node(`node-${at}`));
}

describe("how many nodes", () => {
  test.each([3, 5, 7])("%i are a quorum", (count) => {
    expect(mistakesOf(nodes(count))).toEqual([]);
  });

  test.each([0, 1, 2])("%i are too few: none may fail", (count) => {
    expect(mistakesOf(nodes(count))).toEqual([`${count} nodes: with fewer than 3, none may fail`]);
  });

  test.each([4, 6])("%i are even: they can tie, and the last one adds nothing", (count) => {
    expect(mistakesOf(nodes(count))).toEqual([
      `${count} nodes: an even number can tie, and tolerates no more than ${count - 1}`,
    ]);
  });
});

describe("the same node twice", () => {
  const shared = node("a");

  test.each<[why: string, name: string, one: Client, other: Client]>([
    ["one client", "a:6379", shared, shared],
    ["two clients", "a:7000", node("a", 7_000), node("a", 7_000)],
    ["in another spelling", "a:6379", node("a"), node("A")],
    ["as another database", "a:6379", new Redis("redis://a/0", { lazyConnect: true }), node("a")],
    ["on this machine", "127.0.0.1:6379", node("localhost"), node("127.0.0.1")],
    [
      "by its socket",
      "/run/redis.sock",
      new Redis("/run/redis.sock", { lazyConnect: true }),
      new Redis("/run/redis.sock", { lazyConnect: true }),
    ],
    [
      "by its sentinels",
      "main of sentinels a:26379, b:26379",
      sentinel("main", "a", "b"),
      sentinel("main", "b", "a"),
    ],
    [
      "by its cluster's seeds",
      "cluster of a:6379, b:7000",
      cluster("redis://a", { host: "b", port: 7_000 }),
      cluster("b:7000", { host: "a" }),
    ],
  ])("%s is refused", (_, name, one, other) => {
    expect(mistakesOf([one, other, node("another")])).toEqual([
      `${name} is there twice: each node must be independent of the others`,
    ]);
  });

  test("is told from nodes that only look alike", () => {
    expect(mistakesOf([node("a", 6_379), node("a", 6_380), node("b", 6_379)])).toEqual([]);
    expect(mistakesOf(["a", "b", "c"].map((host) => sentinel("mymaster", host)))).toEqual([]);
    expect(mistakesOf(["a", "b", "c"].map((host) => cluster({ host, port: 7_000 })))).toEqual([]);
    expect(mistakesOf([7_000, 7_001, 7_002].map((port) => cluster(port)))).toEqual([]);
  });

  test("is named beside every other mistake", () => {
    expect(mistakesOf([node("a"), node("a")])).toEqual([
      "2 nodes: with fewer than 3, none may fail",
      "a:6379 is there twice: each node must be independent of the others",
    ]);
  });

  test("is named without its password", () => {
    const client = () => new Redis("redis://user:secret@a:6379", { lazyConnect: true });
    expect(mistakesOf([client(), client(), node("b")]).join()).not.toContain("secret");
  });
});

describe("what is no quorum at all", () => {
  test.each([
    ["one client", node("a"), "clients must be an array of ioredis clients"],
    ["nothing", undefined, "clients must be an array of ioredis clients"],
    ["URLs", ["redis://a", "redis://b", "redis://c"], "clients[0] is no ioredis client"],
    [
      "another driver's client",
      [node("a"), { sendCommand: () => {} }, node("c")],
      "clients[1] is no ioredis client",
    ],
  ])("%s", (_, clients, mistake) => {
    expect(mistakesOf(clients)).toEqual([mistake]);
  });
});

describe("options", () => {
  test.each<[mistake: string, options: unknown]>([
    ["nodeTimeoutMs must be an integer from 1 to 2147483647, got 0", { nodeTimeoutMs: 0 }],
    ["nodeTimeoutMs must be an integer from 1 to 2147483647, got 1.5", { nodeTimeoutMs: 1.5 }],
    ["prefix must be a string, got 7", { prefix: 7 }],
    [
      "unknown option 'retryCount', known are prefix, nodeTimeoutMs, quarantineMs, onReport",
      { retryCount: 3 },
    ],
  ])("%s", (mistake, options) => {
    expect(mistakesOf(nodes(3), options)).toEqual([mistake]);
  });
});
