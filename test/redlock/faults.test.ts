/** What networks, nodes and clocks do to a quorum, and what it must make of that (DESIGN, sections 2 and 5). */
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { startMasters, type RedisMasters, type RedisNode } from "../../infra/services/redis.js";
import type { Lease, Store } from "../../src/index.js";
import { answer, FINGERPRINT, LONG_MS } from "../../src/testing/stage.js";
import { lockValue } from "../../stores/redis/value.js";
import { redlockStore } from "../../stores/redlock.js";
import { named, resending } from "../redis/clients.js";
import {
  acquired,
  completed,
  failure,
  freshKey,
  party,
  PATIENT,
  plant,
  PREFIX,
  proxied,
  QUIET,
  SLACK_MS,
  standing,
  three,
  warm,
  type PartyOptions,
} from "./stage.js";

let masters: RedisMasters;
let nodes: readonly RedisNode[];

beforeAll(async () => {
  masters = await startMasters(3);
  ({ nodes } = masters);
  await warm(nodes);
});
afterAll(() => masters.close());

/** Masters that one test may kill, stop and empty. */
async function ownMasters(count: number): Promise<readonly RedisNode[]> {
  const own = await startMasters(count);
  onTestFinished(() => own.close());
  await warm(own.nodes);
  return own.nodes;
}

function claim(store: Store, key: string, leaseMs = LONG_MS) {
  return store.lock(key, FINGERPRINT, leaseMs);
}

/** Claims until the key is free: a lease or a record may still stand there. */
async function untilAcquired(store: Store, key: string): Promise<Lease> {
  for (;;) {
    const result = await claim(store, key);
    if (result.state === "acquired") return result.lease;
    await sleep(5);
  }
}

describe("replies that get lost", () => {
  test("a claim that the client library sends again is one holder's, not a conflict with itself", async () => {
    const { proxies } = await proxied(nodes);
    const clients = await Promise.all(proxies.map(({ port }) => resending(port)));
    const store = redlockStore(clients, QUIET);
    const [first, second, third] = three(proxies);
    const key = freshKey();
    const cuts = [first, second].map((proxy) => proxy.cutAfterRequest(named("SET")));

    const lease = await acquired(claim(store, key));
    await Promise.all(cuts);

    expect([first, second, third].map(({ traffic }) => traffic.requests["SET"])).toEqual([2, 2, 1]);
    expect(await claim((await party(nodes)).store, key)).toMatchObject({ state: "in-progress" });
    expect(await store.set(lease, answer(), LONG_MS)).toEqual({ state: "stored" });
  });

  test("a response whose reply one node lost is stored", async () => {
    const { store, proxies } = await proxied(nodes);
    const key = freshKey();
    const lease = await acquired(claim(store, key));
    const response = answer();
    const cut = proxies[0]?.cutAfterRequest(named("EVALSHA"));

    expect(await store.set(lease, response, LONG_MS)).toEqual({ state: "stored" });
    await cut;

    expect(await standing(nodes, key)).toEqual(["R", "R", "R"]);
    expect(await (await party(nodes)).store.get(key)).toEqual(response);
  });

  test("a response whose reply a majority lost is unknown, then stored: once", async () => {
    const { store, proxies, ready } = await proxied(nodes);
    const key = freshKey();
    const lease = await acquired(claim(store, key));
    const response = answer();
    const cuts = proxies.slice(0, 2).map((proxy) => proxy.cutAfterRequest(named("EVALSHA")));

    expect(await failure(store.set(lease, response, LONG_MS))).toMatchObject({
      code: "STORE_UNAVAILABLE",
    });
    await Promise.all(cuts);
    await ready();

    expect(await store.set(lease, response, LONG_MS)).toEqual({ state: "stored" });
    expect(await completed(claim(store, key))).toEqual(response);
    expect(await store.set({ ...lease, token: "another" }, answer(), LONG_MS)).toEqual({
      state: "lost",
      winner: response,
    });
  });

  test("a claim whose reply a majority lost is unavailable, and its remains end with the lease", async () => {
    const { store, proxies, ready } = await proxied(nodes);
    const key = freshKey();
    const cuts = proxies.slice(0, 2).map((proxy) => proxy.cutAfterRequest(named("SET")));

    expect(await failure(claim(store, key, 400))).toMatchObject({ code: "STORE_UNAVAILABLE" });
    await Promise.all(cuts);
    await ready();

    expect(await claim(store, key)).toMatchObject({ state: "in-progress" });
    const startedAt = performance.now();
    await untilAcquired(store, key);
    expect(performance.now() - startedAt).toBeLessThan(400 + SLACK_MS);
  });
});

test("a claim that failed is given back where its reply was lost, so that the retry need not wait for its end", async () => {
  const { store, proxies } = await proxied(nodes, { connect: PATIENT });
  const [first, second] = three(proxies);
  const key = freshKey();
  const cut = first.cutAfterRequest(named("SET"));
  second.hang();

  expect(await failure(claim(store, key))).toMatchObject({ code: "STORE_UNAVAILABLE" });
  await cut;

  await expect.poll(() => standing(nodes, key)).toEqual(["-", "-", "-"]);
  await acquired(claim(store, key));
});

test("a key of which every node is somebody else's is in progress after a few tries", async () => {
  const { store, proxies } = await proxied(nodes);
  const key = freshKey();
  for (const [at, node] of nodes.entries()) {
    const lock = lockValue(`contender-${at}`, LONG_MS, FINGERPRINT);
    await node.command("SET", PREFIX + key, lock, "PX", `${LONG_MS}`);
  }

  expect(await claim(store, key)).toEqual({ state: "in-progress", retryAfterMs: 1_000 });
  expect(proxies.map(({ traffic }) => traffic.requests["SET"])).toEqual([4, 4, 4]);
});

describe("late packets of a dead attempt", () => {
  const LEASE_MS = 300;
  const SUCCESSOR_MS = 10_000;

  /** Claims once the dead attempt's lease is over on every node: before, a minority's could still be its own. */
  async function takenOver(store: Store, key: string): Promise<Lease> {
    await expect.poll(() => standing(nodes, key)).toEqual(["-", "-", "-"]);
    return await acquired(claim(store, key, SUCCESSOR_MS));
  }

  test.each<[verb: string, send: (store: Store, lease: Lease) => Promise<unknown>]>([
    ["extend", (store, lease) => store.extend(lease, LONG_MS)],
    ["set", (store, lease) => store.set(lease, answer(), LONG_MS)],
    ["unlock", (store, lease) => store.unlock(lease)],
  ])("%s: change nothing of its successor's lease or response", async (_, send) => {
    const dead = await proxied(nodes, { connect: PATIENT });
    const { store } = await party(nodes);
    const key = freshKey();
    const late = await acquired(claim(dead.store, key, LEASE_MS));
    for (const proxy of dead.proxies) proxy.hold(named("EVALSHA"));
    const outcome = failure(send(dead.store, late));
    const successor = await takenOver(store, key);
    expect(await outcome).toMatchObject({ code: "STORE_UNAVAILABLE" });

    await Promise.all(dead.proxies.map((proxy) => proxy.release()));

    expect(dead.proxies.map(({ traffic }) => traffic.replies["EVALSHA"])).toEqual([1, 1, 1]);
    expect(await standing(nodes, key)).toEqual(["L", "L", "L"]);
    const rests = await Promise.all(nodes.map((node) => node.command("PTTL", PREFIX + key)));
    expect(rests.every((rest) => Number(rest) < 2 * SUCCESSOR_MS)).toBe(true);
    expect(await store.extend(successor, LONG_MS)).toBe(true);
    const response = answer();
    expect(await store.set(successor, response, LONG_MS)).toEqual({ state: "stored" });
    expect(await store.get(key)).toEqual(response);
  });

  test("extend: does not hold the key once its successor has let it go", async () => {
    const dead = await proxied(nodes, { connect: PATIENT });
    const { store } = await party(nodes);
    const key = freshKey();
    const late = await acquired(claim(dead.store, key, LEASE_MS));
    for (const proxy of dead.proxies) proxy.hold(named("EVALSHA"));
    const outcome = failure(dead.store.extend(late, LONG_MS));
    await store.unlock(await takenOver(store, key));
    await outcome;

    await Promise.all(dead.proxies.map((proxy) => proxy.release()));

    expect(await standing(nodes, key)).toEqual(["-", "-", "-"]);
  });

  test("lock: does not touch what others did meanwhile", async () => {
    const dead = await proxied(nodes, { connect: PATIENT });
    const { store } = await party(nodes);
    const key = freshKey();
    for (const proxy of dead.proxies) proxy.hold(named("SET"));
    const outcome = failure(claim(dead.store, key));
    const lease = await acquired(claim(store, key));
    expect(await outcome).toMatchObject({ code: "STORE_UNAVAILABLE" });

    await Promise.all(dead.proxies.map((proxy) => proxy.release()));

    expect(await store.extend(lease, LONG_MS)).toBe(true);
    expect(await store.set(lease, answer(), LONG_MS)).toEqual({ state: "stored" });
  });

  test("lock: what it was granted too late is given back at once", async () => {
    const dead = await proxied(nodes, { connect: PATIENT });
    const { store } = await party(nodes);
    const key = freshKey();
    for (const proxy of dead.proxies) proxy.hold(named("SET"));
    expect(await failure(claim(dead.store, key))).toMatchObject({ code: "STORE_UNAVAILABLE" });

    await Promise.all(dead.proxies.map((proxy) => proxy.release()));
    await Promise.all(
      dead.proxies.map((proxy) => proxy.until(() => proxy.traffic.replies["EVALSHA"] === 1)),
    );

    await acquired(claim(store, key));
  });

  test("all at once, from clients long gone: no response is replaced", async () => {
    const dead = await proxied(nodes);
    const { store } = await party(nodes);
    const key = freshKey();
    const late = await acquired(claim(dead.store, key, LEASE_MS));
    for (const proxy of dead.proxies) proxy.hold();
    const outcomes = [
      failure(dead.store.extend(late, LONG_MS)),
      failure(dead.store.set(late, answer(), LONG_MS)),
      failure(claim(dead.store, key)),
      failure(dead.store.unlock(late)),
    ];
    await Promise.all(outcomes);
    for (const client of dead.clients) client.disconnect();
    const successor = await takenOver(store, key);
    const response = answer();
    await store.set(successor, response, LONG_MS);

    await Promise.all(dead.proxies.map((proxy) => proxy.release()));

    expect(await completed(claim(store, key))).toEqual(response);
    expect(await standing(nodes, key)).toEqual(["R", "R", "R"]);
  });
});

describe("an adoption whose writes come late", () => {
  /** Found on the first node, and on its way to the other two. */
  async function adopting(options: PartyOptions) {
    const { store, proxies } = await proxied(nodes, { connect: PATIENT, ...options });
    const key = freshKey();
    const others = nodes.slice(1);
    await plant(nodes.slice(0, 1), key, { token: "died", response: answer() });
    const late = proxies.slice(1);
    for (const proxy of late) proxy.hold(named("EVALSHA"));
    const claimed = claim(store, key);
    await Promise.all(late.map((proxy) => proxy.until(() => proxy.held > 0)));
    const arrive = () => Promise.all(late.map((proxy) => proxy.release()));
    return { key, others, claimed, arrive };
  }

  const SLOW = { nodeTimeoutMs: 30_000 };

  test("is answered with what a majority has stored meanwhile", async () => {
    const { key, others, claimed, arrive } = await adopting(SLOW);
    const response = answer();
    for (const node of others) await node.command("DEL", PREFIX + key);
    await plant(others, key, { token: "faster", response });
    await arrive();

    expect(await completed(claimed)).toEqual(response);
  });

  test("is in progress where others hold the key meanwhile", async () => {
    const { key, others, claimed, arrive } = await adopting(SLOW);
    for (const node of others) {
      await node.command("SET", PREFIX + key, lockValue("faster", LONG_MS, FINGERPRINT));
    }
    await arrive();

    expect(await claimed).toEqual({ state: "in-progress", retryAfterMs: 1_000 });
  });

  test("is unknown where they do not arrive in time", async () => {
    const { claimed, arrive } = await adopting({});

    expect(await failure(claimed)).toMatchObject({ code: "STORE_UNAVAILABLE" });
    await arrive();
  });
});

describe("records on a minority of nodes", () => {
  test("one is adopted with its own end, and its request is not run again", async () => {
    const { store } = await party(nodes);
    const key = freshKey();
    const ttlMs = 20_000;
    const response = answer({}, ttlMs);
    await plant(nodes.slice(0, 1), key, { token: "died", response, ttlMs });

    expect(await completed(claim(store, key))).toEqual(response);

    expect(await standing(nodes, key)).toEqual(["R", "R", "R"]);
    const bytes = await Promise.all(nodes.map((node) => node.command("GET", PREFIX + key)));
    expect(new Set(bytes).size).toBe(1);
    const rests = await Promise.all(nodes.map((node) => node.command("PTTL", PREFIX + key)));
    for (const rest of rests) expect(rest).toBeLessThanOrEqual(ttlMs + 10);
    expect(await store.get(key)).toEqual(response);
  });

  test("one that nobody confirms to have adopted is not answered, though the third node has another", async () => {
    const { store, proxies, ready } = await proxied(nodes);
    const [first, second, third] = three(nodes);
    const key = freshKey();
    await plant([first], key, { token: "died", response: answer() });
    await plant([third], key, { token: "died too", response: answer() });
    const cut = three(proxies)[1].cutAfterRequest(named("EVALSHA"));

    expect(await failure(claim(store, key))).toMatchObject({ code: "STORE_UNAVAILABLE" });
    await cut;
    await ready();

    // It was adopted all the same, and stays.
    const response = await completed(claim(store, key));
    expect(await completed(claim((await party(nodes)).store, key))).toEqual(response);
    expect(await standing([second], key)).toEqual(["R"]);
  });

  test("what a dying writer got to one node only is adopted", async () => {
    const dying = await proxied(nodes);
    const { store } = await party(nodes);
    const key = freshKey();
    const response = answer();
    const lease = await acquired(claim(dying.store, key, 300));
    const [, ...others] = dying.proxies;
    for (const proxy of others) proxy.dropRequests();
    expect(await failure(dying.store.set(lease, response, LONG_MS))).toMatchObject({
      code: "STORE_UNAVAILABLE",
      cause: { errors: [expect.any(Error), expect.any(Error)] },
    });
    expect(await standing(nodes, key)).toEqual(["R", expect.any(String), expect.any(String)]);

    let result = await claim(store, key);
    while (result.state === "in-progress") {
      await sleep(5);
      result = await claim(store, key);
    }
    expect(result).toEqual({ state: "completed", response });
  });

  test("what was answered by two nodes, one of them gone, is replayed where the third still holds its lock", async () => {
    const writer = await proxied(nodes);
    const key = freshKey();
    const response = answer();
    const lease = await acquired(claim(writer.store, key));
    await expect.poll(() => standing(nodes, key)).toEqual(["L", "L", "L"]);
    three(writer.proxies)[2].dropRequests();
    expect(await writer.store.set(lease, response, LONG_MS)).toEqual({ state: "stored" });
    expect(await standing(nodes, key)).toEqual(["R", "R", "L"]);

    const reader = await proxied(nodes);
    await three(reader.proxies)[0].refuse();
    expect(await completed(claim(reader.store, key))).toEqual(response);

    expect(await standing(nodes, key)).toEqual(["R", "R", "R"]);
  });

  test("where the third is held by somebody else, its holder's end is waited for", async () => {
    const key = freshKey();
    const { store } = await party(nodes);
    await plant(nodes.slice(0, 1), key, { token: "died", response: answer() });
    const theirs = lockValue("another", LONG_MS, FINGERPRINT);
    await nodes[1]?.command("SET", PREFIX + key, theirs);
    const reader = await proxied(nodes);
    await three(reader.proxies)[2].refuse();

    expect(await claim(reader.store, key)).toMatchObject({ state: "in-progress" });

    expect(await standing(nodes, key)).toEqual(["R", "L", "-"]);
    await store.delete(key);
  });

  test("of five, two are adopted with the one grant that makes three", async () => {
    const five = await ownMasters(5);
    const key = freshKey();
    const response = answer();
    await plant(five.slice(0, 2), key, { token: "died", response });
    const { store, proxies } = await proxied(five);
    await Promise.all(proxies.slice(3).map((proxy) => proxy.refuse()));

    expect(await completed(claim(store, key))).toEqual(response);
    expect(await standing(five, key)).toEqual(["R", "R", "R", "-", "-"]);
  });

  test.each([3, 5])(
    "of two on %i nodes one is chosen, and then stays for every reader, whatever minority is gone",
    async (count) => {
      const many = await ownMasters(count);
      const [one, other] = [answer(), answer()];
      const key = freshKey();
      await plant(many.slice(0, 1), key, { token: "one", response: one });
      await plant(many.slice(1, 2), key, { token: "other", response: other });
      const crowd = await Promise.all(Array.from({ length: 3 }, () => party(many)));

      const claims = await Promise.all(crowd.map(({ store }) => claim(store, key)));
      const { store } = await party(many);
      const chosen = await completed(claim(store, key));

      expect([one, other]).toContainEqual(chosen);
      const told = claims.filter(({ state }) => state !== "in-progress");
      const reader = await proxied(many);
      for (const proxy of reader.proxies) {
        await proxy.refuse();
        // Where the rest is split, nobody can know: that is the only other answer.
        const answers = await Promise.allSettled([claim(reader.store, key)]);
        told.push(...answers.flatMap((it) => (it.status === "fulfilled" ? [it.value] : [])));
        await proxy.heal();
        await reader.ready();
      }
      expect(told.length).toBeGreaterThan(1);
      expect(told).toEqual(told.map(() => ({ state: "completed", response: chosen })));
      expect(await completed(claim(store, key))).toEqual(chosen);
    },
  );

  test("three different ones on three nodes are nobody's to choose: 503 names the way out, and delete frees the key", async () => {
    const { store } = await party(nodes);
    const key = freshKey();
    for (const [at, node] of nodes.entries()) {
      await plant([node], key, { token: `writer-${at}`, response: answer() });
    }

    const error = await failure(claim(store, key));
    expect(error).toMatchObject({ code: "STORE_UNAVAILABLE" });
    expect(error.message).toContain("delete");
    expect(await store.get(key)).toBeUndefined();

    expect(await store.delete(key)).toBe(true);
    const lease = await acquired(claim(store, key));
    expect(await store.set(lease, answer(), LONG_MS)).toEqual({ state: "stored" });
  });

  test("where the silent node decides which of two counts, nobody is told anything", async () => {
    const { store, proxies, ready } = await proxied(nodes);
    const key = freshKey();
    const [one, other] = [answer(), answer()];
    await plant(nodes.slice(0, 1), key, { token: "one", response: one });
    await plant(nodes.slice(1), key, { token: "other", response: other });
    const third = three(proxies)[2];
    await third.refuse();

    const error = await failure(claim(store, key));
    expect(error).toMatchObject({ code: "STORE_UNAVAILABLE" });
    // It comes back with what it has, unlike one that abstains.
    expect(error.message).not.toContain("delete the key");
    expect(await failure(store.get(key))).toMatchObject({ code: "STORE_UNAVAILABLE" });

    await third.heal();
    await ready();
    expect(await completed(claim(store, key))).toEqual(other);
  });
});
