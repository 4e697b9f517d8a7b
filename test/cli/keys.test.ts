/** `inspect` and `delete` on records that the middleware stored, and the tool's own manners. */
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { startRedis, type RedisNode } from "../../infra/services/redis.js";
import { idempotency, type Store } from "../../src/index.js";
import { storageKey } from "../../src/key.js";
import { acquire, answer } from "../../src/testing/stage.js";
import { encryptedStore } from "../../stores/encrypted.js";
import { storeFromEnv } from "../../stores/from-env.js";
import { asked, tool, TOOL } from "./tool.js";

// Processes that start on a busy machine.
vi.setConfig({ testTimeout: 30_000 });

let node: RedisNode;
let store: Store;
let env: Record<string, string>;

beforeAll(async () => {
  node = await startRedis({ persistence: "always" });
  env = { IDEMPOTENCY_STORE: node.url };
  store = await storeFromEnv(env);
});

afterAll(async () => {
  await store.close?.();
  await node.close();
});

/** One payment through the middleware, so that its record is what the tool has to find. */
async function paid(key: string, body: string | Buffer, scope?: string): Promise<void> {
  const safe = idempotency(store, scope === undefined ? {} : { scope: () => scope });
  const pay = safe.wrap((_, res) => {
    res.writeHead(201, { "Content-Type": "text/plain", "X-Payment": "1" }).end(body);
  });
  const server = createServer(pay).listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const headers = { "Idempotency-Key": key, Connection: "close" };
  await fetch(`http://127.0.0.1:${port}/`, { method: "POST", headers });
  server.close();
}

describe("inspect", () => {
  test("shows what is stored under a client's key; the body only if asked", async () => {
    await paid("order-1", "paid 19.99");
    const { code, stdout } = await tool(["inspect", "order-1"], env);
    expect(code).toBe(0);
    expect(stdout).toMatch(new RegExp(`^Key +${storageKey("order-1")}$`, "m"));
    expect(stdout).toMatch(/^Status +201$/m);
    expect(stdout).toMatch(/^Stored +\d{4}-\d\d-\d\dT/m);
    expect(stdout).toMatch(/^Expires +\d{4}-\d\d-\d\dT/m);
    expect(stdout).toMatch(/^Body +10 bytes$/m);
    expect(stdout).toMatch(/^Header +X-Payment: 1$/im);
    expect(stdout).not.toContain("19.99");

    const withBody = await tool(["inspect", '"order-1"', "--body"], env);
    expect(withBody.stdout).toMatch(/\n\npaid 19\.99\n$/);
  });

  test("--json: one document, with every byte of the body", async () => {
    await paid("order-2", Buffer.from([0xff, 0x00]));
    const { code, json } = await asked(["inspect", "order-2", "--body"], env);
    expect(code).toBe(0);
    expect(json).toMatchObject({
      found: true,
      key: storageKey("order-2"),
      statusCode: 201,
      headers: expect.arrayContaining([["X-Payment", "1"]]),
      bodyBytes: 2,
      storedAt: expect.stringMatching(/Z$/),
      expiresAt: expect.stringMatching(/Z$/),
      body: { encoding: "base64", text: "/wA=" },
    });
  });

  test("finds a scoped key by its scope, and any key as it is stored", async () => {
    await paid("order-3", "x", "tenant-7");
    const scoped = await tool(["inspect", "order-3", "--scope", "tenant-7"], env);
    const stored = await tool(["inspect", storageKey("order-3", "tenant-7"), "--stored"], env);
    expect(scoped.code).toBe(0);
    expect(stored.stdout).toBe(scoped.stdout);
    expect((await tool(["inspect", "order-3"], env)).code).toBe(1);
  });

  test("shows of an encrypted record the status and the times, no headers, and the encrypted bytes", async () => {
    const secret = answer({
      statusCode: 201,
      headers: [["X-Payment", "1"]],
      body: Buffer.from("paid 19.99"),
    });
    const sealed = encryptedStore(store, { keys: { k: randomBytes(32) }, current: "k" });
    await sealed.set(await acquire(sealed, storageKey("order-9")), secret, 60_000);

    const { json } = await asked(["inspect", "order-9", "--body"], env);
    expect(json).toMatchObject({
      found: true,
      statusCode: 201,
      headers: [],
      body: { encoding: "base64" },
    });
    expect(json).toHaveProperty("expiresAt");
    expect(JSON.stringify(json)).not.toMatch(/X-Payment|19\.99/);
  });

  test("nothing there: exit code 1, and why that may be", async () => {
    const { code, stdout } = await tool(["inspect", "nobody"], env);
    expect(code).toBe(1);
    expect(stdout).toMatch(/^Nothing is stored under .*\n.*still runs.*--scope/);
    expect((await asked(["inspect", "nobody"], env)).json).toMatchObject({ found: false });
  });

  test("a terminal does not obey what is stored", async () => {
    await paid("order-4", "\u001b]0;owned\u0007\u001b[2J");
    const { stdout } = await tool(["inspect", "order-4", "--body"], env);
    expect(stdout).toContain("\\u{1b}]0;owned\\u{07}");
    expect(stdout).not.toContain("\u001b");
  });
});

describe("delete", () => {
  test("where nobody can be asked, needs --yes", async () => {
    await paid("order-5", "x");
    const refused = await tool(["delete", "order-5"], env);
    expect(refused.code).toBe(64);
    expect(refused.stderr).toMatch(/executed again.*--yes/);
    expect((await tool(["inspect", "order-5"], env)).code).toBe(0);

    expect(await asked(["delete", "order-5", "--yes"], env)).toEqual({
      code: 0,
      json: { deleted: true, key: storageKey("order-5") },
    });
    expect((await tool(["inspect", "order-5"], env)).code).toBe(1);
    expect((await tool(["delete", "order-5", "--yes"], env)).code).toBe(1);
  });

  test.each([
    ["y", 0, undefined],
    ["n", 1, 201],
    ["", 1, 201],
  ])("at a terminal, asks first: %j", async (typed, code, statusCode) => {
    const key = `asked-${typed}`;
    await paid(key, "x");
    const terminal = await atTerminal(`delete ${key}`, `${typed}\n`);
    expect(terminal.said).toMatch(/Status +201[^]*executed again[^]*Delete it\? \[y\/N\]/);
    expect(terminal.code).toBe(code);
    expect((await store.get(storageKey(key)))?.statusCode).toBe(statusCode);
  });
});

describe("the tool", () => {
  test.each([
    [["nonsense"], "There is no command 'nonsense'"],
    [["inspect"], "Usage: idempotency-kit inspect <key>"],
    [["inspect", "a", "b"], "Usage: idempotency-kit inspect <key>"],
    [["inspect", "a", "--bodies"], "Unknown option '--bodies'"],
    [["inspect", "a b"], "The key has a space"],
    [["inspect", "a", "--stored", "--scope", "b"], "exclude each other"],
    [["delete", "a", "--scope"], "--scope"],
    [["dynamodb", "drop-table"], "one command: create-table"],
    [["dynamodb", "create-table"], "IDEMPOTENCY_STORE is redis"],
  ])("%j is refused with exit code 64", async (args, says) => {
    const { code, stdout, stderr } = await tool(args, env);
    expect({ code, stdout }).toEqual({ code: 64, stdout: "" });
    expect(stderr).toContain(says);
  });

  test("a store that is down: exit code 2, in a sentence", async () => {
    const down = await startRedis();
    await down.close();
    const { code, stderr } = await tool(["inspect", "a"], { IDEMPOTENCY_STORE: down.url });
    expect(code).toBe(2);
    expect(stderr).toMatch(/^Redis failed: .*ECONNREFUSED[^]*\n.*doctor` tells more\.\n$/);
  });

  test.each([[[]], [["--help"]], [["help"]]])("%j lists the commands", async (args) => {
    const { code, stdout } = await tool(args);
    expect(code).toBe(0);
    const commands = [
      "doctor",
      "inspect <key>",
      "list",
      "delete <key>",
      "sweep",
      "dynamodb create-table",
    ];
    for (const name of commands) {
      expect(stdout).toContain(`\n  ${name} `);
    }
  });

  test("each command has its own help, and the package its version", async () => {
    const { stdout } = await tool(["delete", "--help"]);
    expect(stdout).toMatch(/--scope[^]*--stored[^]*--yes[^]*--json/);
    const manifest = readFileSync(new URL("../../package.json", import.meta.url), "utf8");
    const { version } = JSON.parse(manifest) as { version: string };
    expect((await tool(["--version"])).stdout).toBe(`${version}\n`);
  });
});

test("a mistake of the tool itself: exit code 70, and what to do with it", async () => {
  await paid("order-6", "x");
  const mistake = "Date.prototype.toISOString = () => { throw new Error('planted'); };";
  const flawed = {
    ...env,
    NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(mistake)}`,
  };

  expect(await asked(["inspect", "order-6"], flawed)).toEqual({
    code: 70,
    json: {
      ok: false,
      code: "BUG",
      errors: [expect.stringMatching(/please report it: planted$/)],
    },
  });
});

test("--json: what only some records have, and what there is where nothing is", async () => {
  const put = async (key: string, more: Parameters<typeof answer>[0]) =>
    await store.set(await acquire(store, storageKey(key)), answer(more), 60_000);
  await put("order-7", { headers: [], body: Buffer.alloc(0), tombstone: "streamed" });
  await put("order-8", { statusMessage: "Paid", trailers: [["X-Sum", "1"]] });
  const nothing = { found: false, key: storageKey("nobody") };

  expect((await asked(["inspect", "order-7"], env)).json).toMatchObject({
    tombstone: "streamed",
    bodyBytes: 0,
  });
  expect((await asked(["inspect", "order-8"], env)).json).toMatchObject({
    statusMessage: "Paid",
    trailers: [["X-Sum", "1"]],
  });
  expect(await asked(["inspect", "nobody"], env)).toEqual({ code: 1, json: nothing });
  expect(await asked(["delete", "nobody", "--yes"], env)).toEqual({ code: 1, json: nothing });
});

/** As typed at a terminal: `script` gives the tool a pseudo-terminal. */
async function atTerminal(command: string, typed: string) {
  const line = `${process.execPath} ${TOOL} ${command}`;
  const child = spawn("script", ["-qec", line, "/dev/null"], {
    env: { ...env, PATH: process.env["PATH"] },
    stdio: ["pipe", "pipe", "inherit"],
  });
  const closed = once(child, "close");
  let said = "";
  for await (const chunk of child.stdout) {
    said += chunk;
    if (said.includes("[y/N]") && child.stdin.writable) child.stdin.end(typed);
  }
  await closed;
  return { code: child.exitCode, said };
}
