/** `idempotency-kit doctor` on real servers, fit and unfit. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from "vitest";
import { startDynamodb, type DynamodbLocal } from "../../infra/services/dynamodb.js";
import { startMasters, startRedis, type RedisNodeOptions } from "../../infra/services/redis.js";
import { createTable } from "../../stores/dynamodb.js";
import { startProxy } from "../support/fault-proxy.js";
import { asked, tool } from "./tool.js";

// Processes that start on a busy machine.
vi.setConfig({ testTimeout: 30_000 });

async function redis(options: RedisNodeOptions = {}) {
  const node = await startRedis({ persistence: "always", ...options });
  onTestFinished(() => node.close());
  return node;
}

test("a fit Redis: exit code 0, the level, latencies, and no key is left behind", async () => {
  const node = await redis();
  const env = { IDEMPOTENCY_STORE: node.url, IDEMPOTENCY_TTL_MS: "60000" };

  const { code, stdout } = await tool(["doctor"], env);
  expect(stdout).toMatch(/^Store +redis 127\.0\.0\.1:\d+$/m);
  expect(stdout).toMatch(/^Level +power-safe: records outlive a power failure$/m);
  expect(stdout).toMatch(/^Latency +lock [\d.]+ ms, set .* get .* delete /m);
  expect(stdout).toMatch(/^Options +ttlMs 60000$/m);
  expect(stdout).toMatch(/^Verdict +ready \(0 errors, 0 warnings\)$/m);
  expect(code).toBe(0);
  // What stays is the mark by which the store knows that the server remembers.
  expect(await node.command("KEYS", "*")).toEqual([expect.stringContaining("marker")]);
});

test("--json: one document of a documented shape", async () => {
  const node = await redis({ persistence: "everysec" });
  const env = { IDEMPOTENCY_STORE: node.url, IDEMPOTENCY_NODE_TIMEOUT_MS: "100" };

  const { code, json } = await asked(["doctor"], env);
  expect(code).toBe(0);
  expect(json).toEqual({
    ok: true,
    store: "redis",
    level: "crash-safe",
    nodes: [
      { node: `127.0.0.1:${node.port}`, level: "crash-safe", clockSkewMs: expect.any(Number) },
    ],
    latencyMs: {
      lock: expect.any(Number),
      set: expect.any(Number),
      get: expect.any(Number),
      delete: expect.any(Number),
    },
    options: {},
    errors: [],
    warnings: [
      expect.stringMatching(/^appendfsync everysec/),
      "IDEMPOTENCY_NODE_TIMEOUT_MS is set, and this store has no use for it.",
    ],
  });
  expect((await asked(["doctor", "--strict"], env)).code).toBe(1);
});

test("a private certificate authority is trusted by Node's own variable", async () => {
  const node = await redis({ tls: true });
  const folder = await mkdtemp(join(tmpdir(), "idempotency-kit-"));
  onTestFinished(() => rm(folder, { recursive: true }));
  const ca = join(folder, "ca.pem");
  await writeFile(ca, node.ca ?? "");
  const env = { IDEMPOTENCY_STORE: node.url };

  expect((await tool(["doctor"], env)).code).toBe(2);
  expect((await tool(["doctor"], { ...env, NODE_EXTRA_CA_CERTS: ca })).code).toBe(0);
});

test("a server that is far for its lease, and a clock that is off, are told, and what to do", async () => {
  const node = await redis();
  const proxy = await startProxy(node.port);
  onTestFinished(() => proxy.close());
  proxy.delay(50);
  const ahead = "const now = Date.now; Date.now = () => now() + 60_000;";

  const { code, json } = await asked(["doctor"], {
    IDEMPOTENCY_STORE: `redis://127.0.0.1:${proxy.port}`,
    IDEMPOTENCY_LEASE_MS: "450",
    NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(ahead)}`,
  });

  expect(code).toBe(0);
  expect(json["nodes"]).toMatchObject([
    { clockSkewMs: expect.toSatisfy((ms: number) => ms < -50_000) },
  ]);
  expect(json["warnings"]).toEqual([
    expect.stringMatching(/^Its clock and this machine's are \d{5} ms apart: let NTP set both\.$/),
    expect.stringMatching(/^A call takes \d+ ms: raise IDEMPOTENCY_LEASE_MS to ten times that\.$/),
  ]);
});

test.each([
  ["evicts", { config: { "maxmemory-policy": "allkeys-lru" } }],
  ["does not persist", { persistence: "none" }],
] as const)("a server that %s is a finding", async (_, options) => {
  const node = await redis(options);
  const { code, json } = await asked(["doctor"], { IDEMPOTENCY_STORE: node.url });
  expect(code).toBe(1);
  expect(json).toMatchObject({
    ok: false,
    level: "forgetful",
    errors: ["It forgets records, and their retries are executed again."],
  });
});

test("a server that takes no writes: exit code 2, and why", async () => {
  const master = await redis();
  const replica = await redis({ config: { replicaof: `127.0.0.1 ${master.port}` } });
  const { code, json } = await asked(["doctor"], { IDEMPOTENCY_STORE: replica.url });
  expect(code).toBe(2);
  expect(json["errors"]).toEqual(
    expect.arrayContaining([
      expect.stringMatching(/READONLY/),
      expect.stringMatching(/^This is a replica/),
    ]),
  );
});

test("a server that cannot be reached: exit code 2, and where it was looked for", async () => {
  const node = await redis();
  await node.kill();
  const { code, stdout } = await tool(["doctor"], {
    IDEMPOTENCY_STORE: `redis://app:hunter2@127.0.0.1:${node.port}`,
  });
  expect(code).toBe(2);
  expect(stdout).toMatch(/^Error +Redis at 127\.0\.0\.1:\d+: .*ECONNREFUSED/m);
  expect(stdout).toMatch(
    /^Verdict +the store cannot be used: check IDEMPOTENCY_STORE and the server$/m,
  );
  expect(stdout).not.toContain("hunter2");
});

test("a wrong password: exit code 2, and nothing that is secret", async () => {
  const node = await redis({ config: { requirepass: "letmein" } });
  const url = `redis://:hunter2@127.0.0.1:${node.port}`;
  const { code, stdout, stderr } = await tool(["doctor"], { IDEMPOTENCY_STORE: url });
  expect(code).toBe(2);
  expect(stdout).toMatch(/WRONGPASS/);
  expect(stdout + stderr).not.toMatch(/hunter2|letmein/);
});

test("a quorum without one of its regions works, and that is a finding", async () => {
  const masters = await startMasters(3, { persistence: "always" });
  onTestFinished(() => masters.close());
  const env = { IDEMPOTENCY_STORE: `redlock:${masters.urls.join()}` };
  expect(await asked(["doctor"], env)).toMatchObject({ code: 0, json: { level: "power-safe" } });

  await masters.nodes[2]?.kill();
  const { code, json } = await asked(["doctor"], env);
  expect(code).toBe(1);
  expect(json["errors"]).toEqual([
    expect.stringMatching(`^Redis at 127.0.0.1:${masters.nodes[2]?.port}: .*ECONNREFUSED`),
  ]);
  expect(json["latencyMs"]).not.toBeNull();
}, 30_000);

test("wrong variables: exit code 1, each of them, and no value", async () => {
  const env = {
    IDEMPOTENCY_STORE: "redis://:hunter2@host:x",
    IDEMPOTENCY_TTL_MS: "hunter2",
    IDEMPOTENCY_TTL: "1",
  };
  const { code, stdout, stderr } = await tool(["doctor"], env);
  expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
  expect(stderr.trim().split("\n")).toEqual([
    expect.stringMatching(/^IDEMPOTENCY_TTL is unknown; did you mean IDEMPOTENCY_TTL_MS\?$/),
    expect.stringMatching(/^IDEMPOTENCY_TTL_MS must be/),
    expect.stringMatching(/^IDEMPOTENCY_STORE: host 1 must be/),
  ]);
  expect(stderr).not.toContain("hunter2");
  expect(await asked(["doctor"], env)).toMatchObject({
    code: 1,
    json: { ok: false, code: "OPTIONS_INVALID", errors: expect.any(Array) },
  });
});

describe("DynamoDB", () => {
  const credentials = { AWS_ACCESS_KEY_ID: "anyone", AWS_SECRET_ACCESS_KEY: "anything" };
  let server: DynamodbLocal;
  const environment = (table: string) => ({
    IDEMPOTENCY_STORE: `dynamodb://${table}?region=eu-central-1&endpoint=${server.url}`,
    ...credentials,
  });

  beforeAll(async () => {
    Object.assign(process.env, credentials);
    server = await startDynamodb();
  }, 300_000);
  afterAll(() => server.close());

  test("create-table makes a table that is fit; what is Local is told", async () => {
    const env = environment("made");
    const created = await asked(["dynamodb", "create-table"], env);
    expect(created).toEqual({ code: 0, json: { table: "made", result: "created" } });
    const again = await tool(["dynamodb", "create-table"], env);
    expect(again).toMatchObject({ code: 0, stdout: "Table made is there, and fits.\n" });

    const { code, json } = await asked(["doctor"], env);
    expect(json).toMatchObject({ store: "dynamodb", level: "unknown", errors: [] });
    expect(json["warnings"]).toEqual([expect.stringMatching(/^The endpoint is not AWS's/)]);
    expect(code).toBe(0);
  });

  test("a table of other attributes is made and checked as its URL says", async () => {
    const env = environment("custom");
    const custom = `${env.IDEMPOTENCY_STORE}&keyAttribute=pk&ttlAttribute=ttl`;
    const made = await tool(["dynamodb", "create-table"], { ...env, IDEMPOTENCY_STORE: custom });
    expect(made.code).toBe(0);
    expect((await asked(["doctor"], { ...env, IDEMPOTENCY_STORE: custom })).code).toBe(0);
    const { json } = await asked(["doctor"], env);
    expect(json["errors"]).toContainEqual(expect.stringMatching(/keyAttribute/));
  });

  test("a table without TTL is told", async () => {
    const table = { region: "eu-central-1", endpoint: server.url, tableName: "without" };
    await createTable({ ...table, expiry: "sweep" });
    const { json } = await asked(["doctor"], environment("without"));
    expect(json["warnings"]).toContainEqual(expect.stringMatching(/^TTL is off/));
  });

  test("a table that is not there: exit code 2, and how to make it", async () => {
    const { code, json } = await asked(["doctor"], environment("missing"));
    expect(code).toBe(2);
    expect(json["errors"]).toContainEqual(expect.stringMatching(/ResourceNotFound.*createTable/));
  });
});
