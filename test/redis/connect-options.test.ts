/** What connectRedis makes of URLs, and what checkClient finds in clients that others made. */
import { Cluster, Redis } from "ioredis";
import { describe, expect, test } from "vitest";
import { checkClient, connectRedis } from "../../stores/redis/connect.js";

describe("URLs", () => {
  const lazy = { lazyConnect: true, cluster: { lazyConnect: true } };

  test.each([
    ["redis://h", { host: "h", port: 6379, db: 0, username: null, password: null }],
    ["redis://h:1/2", { host: "h", port: 1, db: 2 }],
    ["REDIS://:p@[::1]:7", { host: "::1", port: 7, password: "p", username: null }],
    ["redis://user@h", { username: "user", password: "" }],
    ["rediss://u:p%40%2F@h/", { host: "h", username: "u", password: "p@/", tls: {} }],
    [
      "redis+sentinel://a,b:2/main/4",
      {
        sentinels: [
          { host: "a", port: 26_379 },
          { host: "b", port: 2 },
        ],
        name: "main",
        db: 4,
        enableTLSForSentinelMode: false,
      },
    ],
    ["rediss+sentinel://a/m", { tls: {}, sentinelTLS: {}, enableTLSForSentinelMode: true }],
  ])("%s", (url, options) => {
    const client = connectRedis(url, lazy);

    expect(client).toBeInstanceOf(Redis);
    const actual = Object.keys(options).map((name) => [
      name,
      (client.options as Record<string, unknown>)[name],
    ]);
    expect(Object.fromEntries(actual)).toEqual(options);
  });

  test.each([
    ["redis+cluster://u:p@a:1,b/"],
    [["redis://u:p@a:1", "redis://u:p@b"]],
    [["redis+cluster://u:p@a:1,b"]],
  ])("%j are seeds of a Cluster", (url) => {
    const client: unknown = connectRedis(url, lazy);

    expect(client).toBeInstanceOf(Cluster);
    expect(client).toHaveProperty("options.redisOptions.username", "u");
    expect(client).toHaveProperty("options.redisOptions.password", "p");
    expect(client).toHaveProperty("startupNodes", [
      { host: "a", port: 1 },
      { host: "b", port: 6379 },
    ]);
  });

  test.each([
    ["host:6379", /must begin with redis:\/\//],
    ["http://:secret@h", /must begin with/],
    ["redis://", /host 1/],
    ["redis://:secret@h:x", /host 1 must be/],
    ["redis://:secret@h:70000", /host 1 must be/],
    ["redis://:sec/ret@h", /host 1 must be/],
    ["redis://:%secret@h", /percent-encoded/],
    ["redis://a,b", /several hosts need/],
    ["redis://h/secret", /database must be a number/],
    ["redis://h/1/2", /database must be a number/],
    ["redis://h?password=secret", /no \?parameters/],
    ["redis+sentinel://:secret@h", /must name the master/],
    ["redis+cluster://:secret@h/1", /database 0 only/],
    [[], /list of URLs is empty/],
    [["redis://a", "redis+sentinel://b/m"], /no sentinels/],
    [["redis://a", "rediss://b"], /same scheme/],
    [["redis://:secret@a", "redis://b"], /same scheme, user and password/],
    [["redis://a/0", "redis://b/1"], /database 0 only/],
    // JavaScript passes what is not set.
    [undefined as never, /must begin with/],
    [["redis://a", undefined as never], /must begin with/],
  ])("%j is refused without repeating any of it", (url, message) => {
    const connect = (): unknown => connectRedis(url, lazy);

    expect(connect).toThrow(message);
    expect(connect).not.toThrow("secret");
  });
});

describe("checkClient", () => {
  const named = (client: Redis | Cluster): (string | undefined)[] =>
    checkClient(client).map((sentence) => /\b(?:[a-z]+[A-Z]\w+)/.exec(sentence)?.[0]);

  test("names what the defaults of ioredis can do", () => {
    expect(named(new Redis({ lazyConnect: true }))).toEqual([
      "enableOfflineQueue",
      "maxRetriesPerRequest",
      "autoResendUnfulfilledCommands",
      "commandTimeout",
      "socketTimeout",
    ]);
    expect(named(new Cluster([], { lazyConnect: true }))).toEqual([
      "enableOfflineQueue",
      "retryDelayOnFailover",
      "commandTimeout",
      "socketTimeout",
    ]);
  });

  test.each([
    [{ connectTimeout: 0 }, "connectTimeout"],
    [{ retryStrategy: null }, "retryStrategy"],
  ])("names %j", (option, name) => {
    const client = connectRedis("redis://h", { lazyConnect: true, ...option });

    expect(named(client)).toEqual([name]);
  });

  test.each([
    [{ sentinelCommandTimeout: 0 }, "sentinelCommandTimeout"],
    [{ failoverDetector: false }, "failoverDetector"],
  ])("names %j of Sentinel", (option, name) => {
    const client = connectRedis("redis+sentinel://h/m", { lazyConnect: true, ...option });

    expect(named(client)).toEqual([name]);
  });

  test.each([
    [{ maxRedirections: 16 }, "maxRedirections"],
    [{ scaleReads: "slave" as const }, "scaleReads"],
    [{ slotsRefreshTimeout: 10_000 }, "slotsRefreshTimeout"],
    [{ clusterRetryStrategy: null }, "clusterRetryStrategy"],
  ])("names %j of a Cluster", (option, name) => {
    const client = connectRedis("redis+cluster://h", { cluster: { lazyConnect: true, ...option } });

    expect(named(client)).toEqual([name]);
  });

  test("nodes of a Cluster that reconnect can resend, too", () => {
    const client = new Cluster([], { lazyConnect: true, clusterNodeRetryStrategy: () => 1 });

    expect(named(client)).toContain("autoResendUnfulfilledCommands");
  });
});
