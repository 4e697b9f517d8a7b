/** A node that comes back without its data has forgotten what it answered: it abstains, so that nobody is told anything else. */
import { expect, onTestFinished, test, vi } from "vitest";
import { startMasters, type RedisNode } from "../../infra/services/redis.js";
import type { Store } from "../../src/index.js";
import { answer, FINGERPRINT, LONG_MS } from "../../src/testing/stage.js";
import { connectRedis, ready, type RedisNodeReport } from "../../stores/redis.js";
import { redlockStore } from "../../stores/redlock.js";
import { resending } from "../redis/clients.js";
import {
  acquired,
  completed,
  failure,
  freshKey,
  NODE_TIMEOUT_MS,
  party,
  plant,
  PREFIX,
  proxied,
  QUIET,
  standing,
  three,
  type Party,
  type PartyOptions,
} from "./stage.js";

const MARKER = `${PREFIX}marker {0}`;
const A_DAY_MS = 86_400_000;
/** For busy machines: only what hangs shall run into it. */
const WAIT = { timeout: 20_000 };

type Three<T> = [T, T, T];

function claim(store: Store, key: string, leaseMs = LONG_MS) {
  return store.lock(key, FINGERPRINT, leaseMs);
}

async function ownMasters(): Promise<Three<RedisNode>> {
  const own = await startMasters(3);
  onTestFinished(() => own.close());
  return three(own.nodes);
}

/** Notes which nodes are said to have lost their data. */
function noting() {
  const losses: RedisNodeReport[] = [];
  const onReport = (report: RedisNodeReport): void => {
    if (report.lostAt !== undefined) losses.push(report);
  };
  return { losses, onReport };
}

async function watching(nodes: readonly RedisNode[], options: PartyOptions = {}) {
  const { losses, onReport } = noting();
  return { ...(await party(nodes, { ...options, onReport })), losses };
}

/** A process that does not wait until its clients are connected. */
function early(nodes: readonly RedisNode[]) {
  const { losses, onReport } = noting();
  const clients = nodes.map(({ url }) => connectRedis(url));
  onTestFinished(() => {
    for (const client of clients) client.disconnect();
  });
  return { store: redlockStore(clients, { nodeTimeoutMs: NODE_TIMEOUT_MS, onReport }), losses };
}

async function stored(store: Store) {
  const key = freshKey();
  const response = answer();
  await store.set(await acquired(claim(store, key)), response, LONG_MS);
  return { key, response };
}

/** Kills the first node, so that both others must vote, and tells what the claim comes to. */
async function withoutTheFirst(nodes: Three<RedisNode>, { store }: Party, key: string) {
  await nodes[0].kill();
  return await failure(claim(store, key));
}

/** As long after the nodes were first used as no process and no node takes to start. */
function longAfterwards(aheadMs = 120_000): void {
  const now = Date.now;
  const clock = vi.spyOn(Date, "now").mockImplementation(() => now() + aheadMs);
  onTestFinished(() => clock.mockRestore());
}

test("a record on two of three nodes, one dead, one back empty, with the third that missed it: unknown, and never run again", async () => {
  const nodes = await ownMasters();
  const [first, second, third] = nodes;
  const { store, clients } = await party(nodes);
  await third.kill();
  const { key, response } = await stored(store);

  await first.kill();
  await second.restart({ keepData: false });
  await third.restart({ keepData: true });
  await Promise.all(clients.slice(1).map((client) => ready(client)));

  const error = await failure(claim(store, key));
  expect(error).toMatchObject({ code: "STORE_UNAVAILABLE" });
  expect(error.message).toContain("abstains");
  expect((await failure(store.get(key))).message).toContain("abstains");

  await first.restart({ keepData: true });
  await ready(three(clients)[0]);
  expect(await completed(claim(store, key))).toEqual(response);
});

test("beside it two records of one key are for an operator: neither can reach a majority any more", async () => {
  const nodes = await ownMasters();
  const { store, losses } = await watching(nodes);
  const key = freshKey();
  await plant([nodes[0]], key, { token: "one", response: answer() });
  await plant([nodes[1]], key, { token: "other", response: answer() });

  await nodes[2].restart({ keepData: false });
  await expect.poll(() => losses).toHaveLength(1);

  const error = await failure(claim(store, key));
  expect(error).toMatchObject({ code: "STORE_UNAVAILABLE" });
  expect(error.message).toContain("delete the key");
  expect(await store.delete(key)).toBe(true);
  await acquired(claim(store, key));
});

test("it is reported once, the others go on without it, and it is sent nothing", async () => {
  const nodes = await ownMasters();
  const { store, clients, losses } = await watching(nodes);
  const { key, response } = await stored(store);
  const third = nodes[2];

  const before = Date.now();
  await third.restart({ keepData: false });
  // Nobody needs to ask for anything.
  await expect.poll(() => losses).toHaveLength(1);

  const lostAt = losses[0]?.lostAt as Date;
  expect(lostAt.getTime()).toBeGreaterThanOrEqual(before);
  expect(losses).toEqual([
    {
      node: `127.0.0.1:${third.port}`,
      level: "forgetful",
      errors: [expect.stringContaining(new Date(lostAt.getTime() + A_DAY_MS).toISOString())],
      warnings: [],
      lostAt,
    },
  ]);
  expect(await completed(claim(store, key))).toEqual(response);
  await stored(store);
  expect(await third.command("DBSIZE")).toBe(1);
  await third.restart({ keepData: true });
  await ready(three(clients)[2]);
  await completed(claim(store, key));
  expect(losses).toHaveLength(1);
});

test("by default it is a process warning", async () => {
  const nodes = await ownMasters();
  const clients = (await party(nodes)).clients;
  const warnings: string[] = [];
  const warn = vi.spyOn(process, "emitWarning").mockImplementation((warning) => {
    warnings.push(String(warning));
  });
  onTestFinished(() => warn.mockRestore());
  const store = redlockStore(clients);
  await stored(store);

  await nodes[2].restart({ keepData: false });

  await expect.poll(() => warnings.join("\n")).toContain("came back without its data");
});

test("a node that restarts with its data votes on", async () => {
  const nodes = await ownMasters();
  const { store, clients, losses } = await watching(nodes);
  const { key, response } = await stored(store);

  await nodes[2].restart({ keepData: true });
  await nodes[0].kill();
  await ready(three(clients)[2]);

  expect(await completed(claim(store, key))).toEqual(response);
  expect(losses).toEqual([]);
});

test("after its time it votes again, and the next replay gives it its copy back", async () => {
  const nodes = await ownMasters();
  const { store, losses } = await watching(nodes, { quarantineMs: 1_500 });
  const { key, response } = await stored(store);
  await nodes[2].restart({ keepData: false });
  await expect.poll(() => losses).toHaveLength(1);
  expect(await completed(claim(store, key))).toEqual(response);
  expect(await standing(nodes, key)).toEqual(["R", "R", "-"]);

  await expect
    .poll(
      async () => {
        await completed(claim(store, key));
        return await standing(nodes, key);
      },
      { timeout: 10_000 },
    )
    .toEqual(["R", "R", "R"]);

  await nodes[0].kill();
  expect(await completed(claim(store, key))).toEqual(response);
});

test("with quarantineMs 0 it is taken back at once", async () => {
  const nodes = await ownMasters();
  const { store, clients, losses } = await watching(nodes, { quarantineMs: 0 });
  const { key, response } = await stored(store);
  await nodes[2].restart({ keepData: false });
  await ready(three(clients)[2]);

  expect(await completed(claim(store, key))).toEqual(response);

  await expect.poll(() => standing(nodes, key)).toEqual(["R", "R", "R"]);
  expect(losses).toEqual([]);
});

test("a process that starts afterwards hears of it from the node", async () => {
  const nodes = await ownMasters();
  const { store, losses } = await watching(nodes);
  const { key } = await stored(store);
  await nodes[2].restart({ keepData: false });
  await expect.poll(() => losses).toHaveLength(1);

  const later = await watching(nodes);

  expect(later.losses).toEqual(losses);
  expect((await withoutTheFirst(nodes, later, key)).message).toContain("abstains");
});

test.each<[clock: string, aheadMs: number]>([
  ["", 120_000],
  [", though by its clock they are not born yet", -3_600_000],
])(
  "a process that starts afterwards, where nobody saw it, tells by the age of the others%s",
  async (_, aheadMs) => {
    const nodes = await ownMasters();
    const before = await party(nodes);
    const { key } = await stored(before.store);
    for (const client of before.clients) client.disconnect();
    await nodes[2].restart({ keepData: false });
    longAfterwards(aheadMs);

    const { losses, ...later } = await watching(nodes);

    expect(losses).toMatchObject([{ node: `127.0.0.1:${nodes[2].port}` }]);
    expect((await withoutTheFirst(nodes, later, key)).message).toContain("abstains");
  },
);

test("a process that took it for new is corrected by one that knew it", async () => {
  const nodes = await ownMasters();
  const { losses, onReport } = noting();
  const { store, proxies } = await proxied(nodes, { onReport });
  await stored(store);
  const cut = three(proxies)[2];
  await cut.refuse();
  await nodes[2].restart({ keepData: false });
  await nodes[2].command("SET", MARKER, `another ${Date.now()} new`);

  await cut.heal();

  await expect.poll(() => losses).toHaveLength(1);
  expect(await nodes[2].command("GET", MARKER)).toMatch(/^another \d+ lost$/);
  expect((await watching(nodes)).losses).toHaveLength(1);
});

test("a command that the driver sends again to a server that restarted empty does not count", async () => {
  const nodes = await ownMasters();
  const { proxies } = await proxied(nodes);
  const [first, , third] = three(proxies);
  const key = freshKey();
  await plant([nodes[0], nodes[2]], key, { token: "died", response: answer() });
  const clients = await Promise.all(proxies.map(({ port }) => resending(port)));
  const store = redlockStore(clients, { ...QUIET, nodeTimeoutMs: 10_000 });
  await store.get(key);
  await first.refuse();
  third.hold();
  const claimed = failure(claim(store, key));

  await nodes[2].restart({ keepData: false });
  await third.heal();

  expect((await claimed).message).toContain("abstains");
});

test("a new quorum has nothing to remember: any number of processes may start with it at once", async () => {
  const nodes = await ownMasters();

  const parties = await Promise.all(Array.from({ length: 5 }, () => watching(nodes)));

  for (const { store, losses } of parties) {
    await stored(store);
    expect(losses).toEqual([]);
  }
});

test("a new quorum may begin without one of its nodes; it is kept out when it comes, as it may have forgotten", async () => {
  const nodes = await ownMasters();
  const [first, , third] = nodes;
  await third.kill();
  const { store, losses } = early(nodes);
  await vi.waitFor(() => stored(store), WAIT);

  longAfterwards();
  await third.restart({ keepData: true });

  await expect.poll(() => losses).toMatchObject([{ node: `127.0.0.1:${third.port}` }]);
  await first.kill();
  expect((await failure(claim(store, freshKey()))).message).toContain("abstains");
});

test("one that comes within a minute of the others is as new as they are", async () => {
  const nodes = await ownMasters();
  const [first, , third] = nodes;
  await third.kill();
  const { store, losses } = early(nodes);
  await vi.waitFor(() => stored(store), WAIT);

  await third.restart({ keepData: true });
  await first.kill();

  await vi.waitFor(() => stored(store), WAIT);
  expect(losses).toEqual([]);
});

test("a node that is empty does not vote while nobody is there to tell whether it is new", async () => {
  const nodes = await ownMasters();
  const [first, second, third] = nodes;
  const before = await party(nodes);
  const { key, response } = await stored(before.store);
  // A majority was enough for the answer; here both nodes that come back must have it.
  await expect.poll(() => standing(nodes, key)).toEqual(["R", "R", "R"]);
  for (const client of before.clients) client.disconnect();
  await Promise.all([first.kill(), second.kill(), third.restart({ keepData: false })]);
  longAfterwards();
  const { store } = early(nodes);

  await expect
    .poll(async () => (await failure(claim(store, key))).message)
    .toContain("too few other nodes were heard");
  expect(await third.command("GET", MARKER)).toBeNull();

  await first.restart({ keepData: true });
  await expect.poll(async () => (await failure(claim(store, key))).message).toContain("abstains");
  await second.restart({ keepData: true });
  await vi.waitFor(async () => expect(await completed(claim(store, key))).toEqual(response), WAIT);
});

test("not noticed: FLUSHALL behind open connections, and all nodes at once while no process runs; both are documented", async () => {
  const nodes = await ownMasters();
  const before = await watching(nodes);
  const flushed = await stored(before.store);
  await expect.poll(() => standing(nodes, flushed.key)).toEqual(["R", "R", "R"]);
  await Promise.all(nodes.map((node) => node.command("FLUSHALL")));
  await acquired(claim(before.store, flushed.key));
  expect(before.losses).toEqual([]);

  const { key } = await stored(before.store);
  await expect.poll(() => standing(nodes, key)).toEqual(["R", "R", "R"]);
  for (const client of before.clients) client.disconnect();
  await Promise.all(nodes.map((node) => node.restart({ keepData: false })));
  const { store, losses } = await watching(nodes);
  await acquired(claim(store, key));
  expect(losses).toEqual([]);
});

test("a node that replaces another abstains, so that majorities of the old and the new list meet", async () => {
  const own = await startMasters(4);
  onTestFinished(() => own.close());
  const [first, second, third, spare] = own.nodes as [RedisNode, RedisNode, RedisNode, RedisNode];
  const old: Three<RedisNode> = [first, second, third];
  const before = await party(old);
  const { key, response } = await stored(before.store);
  await expect.poll(() => standing(old, key)).toEqual(["R", "R", "R"]);
  for (const client of before.clients) client.disconnect();
  longAfterwards();

  const list: Three<RedisNode> = [first, second, spare];
  const { losses, ...later } = await watching(list);

  await expect.poll(() => losses).toMatchObject([{ node: `127.0.0.1:${spare.port}` }]);
  expect(await completed(claim(later.store, key))).toEqual(response);
  expect((await withoutTheFirst(list, later, key)).message).toContain("abstains");
});
