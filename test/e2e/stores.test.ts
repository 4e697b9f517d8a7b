/** The same payments on every store: from one to the next, only `IDEMPOTENCY_STORE` changes. */
import { randomUUID } from "node:crypto";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { startDynamodb } from "../../infra/services/dynamodb.js";
import { startMasters } from "../../infra/services/redis.js";
import { until } from "../../infra/services/until.js";
import { createTable } from "../../stores/dynamodb.js";
import { chargesOf, killAll, pay, start, startPayment, stopped } from "./demo.js";

interface Service {
  /** For `IDEMPOTENCY_STORE`. */
  readonly url: string;
  kill(): Promise<void>;
  restart(): Promise<void>;
  close(): Promise<void>;
}

interface Kind {
  readonly name: string;
  /** Whether processes see each other's requests, and a restarted one its own. */
  readonly shared: boolean;
  readonly open: () => Promise<Service>;
}

const KINDS: readonly Kind[] = [
  { name: "memory", shared: false, open: openMemory },
  { name: "redis", shared: true, open: () => openMasters(1, ([url]) => String(url)) },
  { name: "dynamodb", shared: true, open: openDynamodb },
  { name: "redlock", shared: true, open: () => openMasters(3, (urls) => `redlock:${urls.join()}`) },
];

/** Long enough for a busy machine to renew, short enough to wait for its end. */
const LEASE_MS = 2_000;

/** What clients of AWS send, and DynamoDB Local does not check. */
const CREDENTIALS = { AWS_ACCESS_KEY_ID: "anyone", AWS_SECRET_ACCESS_KEY: "anything" };

/** DynamoDB Local is fetched the first time. */
const START_TIMEOUT_MS = 300_000;

/** Several processes, one after another, and a lease that runs out. */
const TIMEOUT_MS = 30_000;

describe.each(KINDS)("$name", { timeout: TIMEOUT_MS }, ({ shared, open }) => {
  const { startServer } = opened(open);
  /** As many processes as can share the store. */
  const startServers = async () => [
    await startServer(),
    ...(shared ? [await startServer(), await startServer()] : []),
  ];

  it("a payment retried, here or elsewhere, is charged once, and gets the same bytes", async () => {
    const servers = await startServers();
    const key = randomUUID();
    const answers: Response[] = [];
    for (const { origin } of [...servers, ...servers]) answers.push(await pay(origin, { key }));

    const [first = "", ...retries] = await Promise.all(answers.map((answer) => answer.text()));
    expect(new Set(retries)).toEqual(new Set([first]));
    expect(answers.map(({ status }) => status)).toEqual(answers.map(() => 201));
    expect(answers.map(({ headers }) => headers.has("idempotency-replayed"))).toEqual(
      answers.map((_, at) => at > 0),
    );
    expect(await charges(servers)).toBe(1);
  });

  it("another payment under a used key gets 422 and is not charged", async () => {
    const servers = await startServers();
    const key = randomUUID();
    await pay(servers[0]?.origin ?? "", { key });
    const body = '{"amount":1,"currency":"EUR"}';
    const reused = await pay(servers.at(-1)?.origin ?? "", { key, body });

    expect(reused.status).toBe(422);
    expect(await reused.json()).toMatchObject({ code: "KEY_REUSED" });
    expect(await charges(servers)).toBe(1);
  });

  it("of twenty duplicates at once, one is charged; the others get its answer, or 409", async () => {
    const servers = await startServers();
    const key = randomUUID();
    const sent = Array.from({ length: 20 }, (_, at) => {
      const { origin = "" } = servers[at % servers.length] ?? {};
      return pay(origin, { key, delayMs: 100 });
    });
    const answers = await Promise.all(sent);
    const paid = answers.filter(({ status }) => status === 201);
    const refused = answers.filter(({ status }) => status === 409);

    expect(paid.length + refused.length).toBe(20);
    expect(new Set(await Promise.all(paid.map((answer) => answer.text()))).size).toBe(1);
    expect(refused.every(({ headers }) => headers.has("retry-after"))).toBe(true);
    expect(await charges(servers)).toBe(1);
  });

  it("a payment whose server was killed is made by a retry, once the lease is over", async () => {
    const killed = await startServer();
    const key = randomUUID();
    // Longer than a lease, so that the retry must renew its own.
    const delayMs = 1.5 * LEASE_MS;
    const { payment } = await startPayment(killed.origin, delayMs, key);
    await stopped(killed.child, "SIGKILL");
    expect(await payment).toBeUndefined();

    const { origin } = await startServer();
    let answer = await pay(origin, { key, delayMs });
    await until("the lease is over", async () => {
      if (answer.status === 409) answer = await pay(origin, { key, delayMs });
      return answer.status !== 409;
    });
    const again = await pay(origin, { key, delayMs });

    expect([answer.status, again.status]).toEqual([201, 201]);
    expect(answer.headers.has("idempotency-replayed")).toBe(false);
    expect(await again.text()).toBe(await answer.text());
    expect(await chargesOf(origin)).toBe(1);
  });

  it("a payment in progress at SIGTERM is answered, kept, and the process exits with 0", async () => {
    const { origin, child } = await startServer();
    const key = randomUUID();
    const { payment } = await startPayment(origin, 500, key);
    const exit = stopped(child, "SIGTERM");
    const answer = await payment;

    expect(answer?.status).toBe(201);
    expect(await exit).toBe(0);
    const restarted = await startServer();
    const retry = await pay(restarted.origin, { key, delayMs: 500 });
    expect(retry.status).toBe(201);
    // Memory ended with its process: the retry is another payment.
    expect(retry.headers.has("idempotency-replayed")).toBe(shared);
    expect((await retry.text()) === (await answer?.text())).toBe(shared);
  });
});

describe.each(KINDS.filter(({ shared }) => shared))(
  "$name, down",
  { timeout: TIMEOUT_MS },
  ({ open }) => {
    const { service, startServer } = opened(open);

    it("a server that starts meanwhile answers 503, recovers, and ends cleanly", async () => {
      await service().kill();
      const { origin, child } = await startServer();
      const key = randomUUID();
      const refused = await pay(origin, { key });
      expect(refused.status).toBe(503);
      expect(refused.headers.has("retry-after")).toBe(true);
      expect(await refused.json()).toMatchObject({
        code: expect.stringMatching(/STORE_UNAVAILABLE|LOCK_FAILED/),
      });
      expect((await fetch(`${origin}/health`)).status).toBe(200);

      await service().restart();
      await until("it pays", async () => (await pay(origin, { key })).status === 201);
      expect(await chargesOf(origin)).toBe(1);
      expect(await stopped(child, "SIGTERM")).toBe(0);
    });

    it("a server that nobody could use ends cleanly too", async () => {
      await service().kill();
      const { child } = await startServer();
      expect(await stopped(child, "SIGTERM")).toBe(0);
    });
  },
);

/** For the tests of one `describe`: its service, and servers that use it. */
function opened(open: Kind["open"]) {
  let service: Service;
  beforeAll(async () => {
    service = await open();
  }, START_TIMEOUT_MS);
  afterEach(killAll);
  afterAll(() => service.close());
  return {
    service: () => service,
    startServer: () =>
      start({
        IDEMPOTENCY_STORE: service.url,
        IDEMPOTENCY_LEASE_MS: String(LEASE_MS),
        ...CREDENTIALS,
      }),
  };
}

async function charges(servers: readonly { readonly origin: string }[]): Promise<number> {
  const counts = await Promise.all(servers.map(({ origin }) => chargesOf(origin)));
  return counts.reduce((sum, count) => sum + count, 0);
}

async function openMemory(): Promise<Service> {
  const nothing = () => Promise.resolve();
  return { url: "memory:", kill: nothing, restart: nothing, close: nothing };
}

async function openMasters(
  count: number,
  urlOf: (urls: readonly string[]) => string,
): Promise<Service> {
  const masters = await startMasters(count);
  const { nodes } = masters;
  return {
    url: urlOf(masters.urls),
    kill: async () => {
      await Promise.all(nodes.map((node) => node.kill()));
    },
    restart: async () => {
      await Promise.all(nodes.map((node) => node.restart({ keepData: true })));
    },
    close: () => masters.close(),
  };
}

/** It keeps nothing over a restart, so it hangs instead of being killed. */
async function openDynamodb(): Promise<Service> {
  const server = await startDynamodb();
  const table = { tableName: "payments", region: "eu-central-1", endpoint: server.url };
  Object.assign(process.env, CREDENTIALS);
  await createTable(table);
  return {
    url: `dynamodb://payments?region=eu-central-1&endpoint=${server.url}`,
    kill: () => server.stop(),
    restart: async () => server.resume(),
    close: () => server.close(),
  };
}
