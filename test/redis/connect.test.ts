/** Clients of connectRedis on a server that hangs, dies and comes back; with ioredis 6, and with 5. */
import { inspect } from "node:util";
import type { Redis } from "ioredis";
import { describe, expect, test } from "vitest";
import { connectRedis, ready } from "../../stores/redis/connect.js";
import {
  AT_ONCE_MS,
  closing,
  connected,
  failureMs,
  IOREDIS_VERSIONS,
  ONE_TIMEOUT_MS,
  proxied,
  recovered,
  started,
} from "../support/redis-clients.js";

describe("one server", () => {
  test("signs in as an ACL user, to its database", async () => {
    const node = await started({ config: { user: ["app on >s:e/c@ret ~* +@all", "default off"] } });
    const url = `redis://app:${encodeURIComponent("s:e/c@ret")}@127.0.0.1:${node.port}/3`;

    const client = (await connected(url)) as Redis;

    expect(await client.client("INFO")).toMatch(/ db=3 .*user=app /);
  });

  test("a wrong password is the reason that ready() gives, and is not repeated", async () => {
    const node = await started({ config: { requirepass: "right" } });
    const client = closing(connectRedis(`redis://:wr0ng-s3cret@127.0.0.1:${node.port}`));

    const error: unknown = await ready(client, 200).catch((reason: unknown) => reason);

    expect(error).toMatchObject({ code: "STORE_UNAVAILABLE" });
    expect(inspect(error)).toContain("WRONGPASS");
    expect(inspect(error)).not.toContain("wr0ng-s3cret");
  });

  test("TLS: a certificate that is not trusted is refused", async () => {
    const node = await started({ tls: true });

    const client = await connected(node.url, { tls: { ca: node.ca } });
    const distrustful = closing(connectRedis(node.url));

    expect(await client.ping()).toBe("PONG");
    await expect(ready(distrustful, 200)).rejects.toThrow(/last error: .*self.signed/);
  });

  test("ready() ends at once for a client that was closed, and in time for a dead server", async () => {
    const closed = connectRedis("redis://127.0.0.1:1");
    const waiting = ready(closed);
    closed.disconnect();
    await expect(waiting).rejects.toThrow("was closed");
    await expect(ready(closed)).rejects.toThrow("was closed");

    await expect(ready(closing(connectRedis("redis://127.0.0.1:1")), 100)).rejects.toThrow(
      /not ready within 100 ms; its last error: connect ECONNREFUSED/,
    );
  });

  test("ready() starts a lazy client", async () => {
    const node = await started();
    const client = closing(connectRedis(node.url, { lazyConnect: true }));

    await ready(client);

    expect(client.status).toBe("ready");
  });

  test("a command whose reply was lost is not sent again", async () => {
    const node = await started();
    const proxy = await proxied(node.port);
    const client = await connected(`redis://127.0.0.1:${proxy.port}`);
    const cut = proxy.cutAfterRequest((bytes) => bytes.includes("incr"));

    await failureMs(client.incr("n"));
    await cut;
    await ready(client);
    await client.ping();

    expect(await node.command("GET", "n")).toBe("1");
    expect(proxy.traffic.requests["INCR"]).toBe(1);
  });

  test("a command to a server that is down fails at once, and is not executed when it is back", async () => {
    const node = await started();
    const proxy = await proxied(node.port);
    const client = await connected(`redis://127.0.0.1:${proxy.port}`);
    await proxy.refuse();

    expect(await failureMs(client.incr("n"))).toBeLessThan(AT_ONCE_MS);
    await proxy.heal();
    await ready(client);
    await client.ping();

    expect(await node.command("GET", "n")).toBeNull();
  });

  test("a replaced master that refuses writes is left, for whoever has its address now", async () => {
    const node = await started();
    const client = await connected(node.url);
    await node.command("REPLICAOF", "127.0.0.1", "1");
    const left = new Promise((resolve) => {
      client.once("close", resolve);
    });

    await expect(client.set("key", "1")).rejects.toThrow("READONLY");
    await left;
    await node.command("REPLICAOF", "NO", "ONE");
    await ready(client);

    expect(await client.set("key", "1")).toBe("OK");
  });
});

describe.each(IOREDIS_VERSIONS)("with ioredis %s", (_, connectModule) => {
  test("a hung server costs one time-out, then nothing; the client recovers by itself", async () => {
    const module = await connectModule();
    const node = await started();
    const client = closing(module.connectRedis(node.url));
    await module.ready(client);
    await node.stop();

    const first = await Promise.all([client.set("a", "1"), client.set("b", "1")].map(failureMs));
    const later = await failureMs(client.set("c", "1")).then(() => failureMs(client.set("c", "1")));

    expect(Math.max(...first)).toBeLessThan(ONE_TIMEOUT_MS);
    expect(later).toBeLessThan(AT_ONCE_MS);
    node.resume();
    await recovered(client);
  });

  test("a killed server costs nothing; the client recovers by itself", async () => {
    const module = await connectModule();
    const node = await started();
    const client = closing(module.connectRedis(node.url));
    await module.ready(client);
    await node.kill();

    expect(await failureMs(client.set("a", "1"))).toBeLessThan(AT_ONCE_MS);
    await node.restart({ keepData: true });
    await recovered(client);

    expect(module.checkClient(client)).toEqual([]);
  });
});
