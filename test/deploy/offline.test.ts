/** The packaged handlers as `npm run offline` serves them: serverless-offline in front, DynamoDB Local behind. */
import { spawn, type ChildProcess } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import { createServer } from "node:net";
import { text } from "node:stream/consumers";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from "vitest";
import { bound } from "../../infra/services/process.js";
import { tool } from "../cli/tool.js";
import { fetchArguments } from "../support/curl.js";

const OFFLINE = fileURLToPath(new URL("../../dist/infra/deploy/offline.js", import.meta.url));
const BUNDLE = fileURLToPath(new URL("../../dist/lambda/handler.mjs", import.meta.url));
const PAGE = readFileSync(new URL("../../docs/deploying.md", import.meta.url), "utf8");

// Installs the deployment tools where they are missing.
vi.setConfig({ testTimeout: 120_000, hookTimeout: 600_000 });

const DUPLICATES = 20;

/** What a client does that is told to come back, before it would give up. */
const MAX_TRIES = 60;

let offline: ChildProcess;
let origin: string;
let printed = "";

beforeAll(async () => {
  for (const built of [OFFLINE, BUNDLE]) {
    if (!existsSync(built)) throw new Error(`${built} is missing: run npm run build:lambda first.`);
  }
  offline = spawn(...bound(process.execPath, [OFFLINE]), {
    env: { ...process.env, PORT: "0", IDEMPOTENCY_STORE: "" },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const ready = new Promise<string>((resolve, reject) => {
    const hear = (chunk: string): void => {
      printed += chunk;
      const [, url] = /^Server ready: (\S+)/m.exec(printed) ?? [];
      if (url !== undefined) resolve(url);
    };
    for (const stream of [offline.stdout, offline.stderr]) {
      stream?.setEncoding("utf8").on("data", hear);
    }
    offline.once("exit", () => reject(new Error(`It ended. It printed: ${printed}`)));
  });
  origin = await ready;
});

afterAll(async () => {
  const exit = once(offline, "exit");
  offline.kill("SIGTERM");
  await exit;
});

async function pay(path: string, key?: string, amount = 1999) {
  const headers = new Headers({ "Content-Type": "application/json" });
  if (key !== undefined) headers.set("Idempotency-Key", key);
  const body = JSON.stringify({ amount, currency: "EUR" });
  const answer = await fetch(origin + path, { method: "POST", headers, body });
  return {
    status: answer.status,
    text: await answer.text(),
    replayed: answer.headers.has("idempotency-replayed"),
    retryAfterMs: Number(answer.headers.get("retry-after")) * 1_000,
  };
}

/** Until it is paid, as often as it is told that this is not known yet. */
async function paid(path: string, key: string) {
  for (let tries = 1; tries <= MAX_TRIES; tries += 1) {
    const answer = await pay(path, key);
    if (answer.status !== 409 && answer.status !== 503) return answer;
    await sleep(answer.retryAfterMs);
  }
  return expect.fail(`After ${MAX_TRIES} tries it was not paid.`);
}

function charges(): number {
  return printed.match(/"charged"/g)?.length ?? 0;
}

describe.each([
  ["HTTP API", "/payments"],
  ["REST API", "/v1/payments"],
])("over the %s", (_, path) => {
  test(`${DUPLICATES} duplicates at once are one payment, and all get its bytes`, async () => {
    const before = charges();
    const key = randomUUID();
    const answers = await Promise.all(
      Array.from({ length: DUPLICATES }, () => paid(`${path}?delayMs=300`, key)),
    );
    const [first, ...others] = answers.toSorted((a, b) => Number(a.replayed) - Number(b.replayed));
    expect(first).toMatchObject({ status: 201, replayed: false });
    const replay = { ...first, replayed: true };
    expect(others).toEqual(Array.from({ length: DUPLICATES - 1 }, () => replay));
    expect(charges() - before).toBe(1);
  });

  test("a retry while the first runs gets 409 and Retry-After", async () => {
    const key = randomUUID();
    const answers = await Promise.all([1, 2].map(() => pay(`${path}?delayMs=3000`, key)));
    const [first, conflict] = answers.toSorted((a, b) => a.status - b.status);
    expect(first).toMatchObject({ status: 201, replayed: false });
    expect(conflict).toMatchObject({ status: 409, retryAfterMs: 1_000 });
    expect(JSON.parse(conflict?.text ?? "")).toMatchObject({ code: "REQUEST_IN_PROGRESS" });
  });

  test("another payment under a used key gets 422, one without a key 400, and neither is charged", async () => {
    const key = randomUUID();
    await paid(path, key);
    const before = charges();
    expect(await pay(path, key, 2999)).toMatchObject({ status: 422 });
    expect(await pay(path)).toMatchObject({ status: 400 });
    expect(charges()).toBe(before);
  });
});

test("the printed variables lead the tool to what was stored", async () => {
  const key = randomUUID();
  await paid("/payments", key);
  const [, line = ""] = /^export (.*)$/m.exec(printed) ?? [];
  const found = [...line.matchAll(/(\w+)='([^']*)'/g)].map(([, name = "", value = ""]) => [
    name,
    value,
  ]);

  const { code, stdout } = await tool(["inspect", key], Object.fromEntries(found));
  expect(stdout).toMatch(/^Status +201$/m);
  expect(code).toBe(0);
});

describe("the curl lines of docs/deploying.md", () => {
  const lines = [...PAGE.matchAll(/^# (\d{3}): (.*)\n(curl .*)$/gm)];

  test("answer what stands above them", async () => {
    expect(lines).toHaveLength(4);
    for (const [, status, what = "", line = ""] of lines) {
      const [url, init] = fetchArguments(line.replace("http://localhost:3000", origin));
      const answer = await fetch(url, init);
      expect({ what, status: answer.status }).toEqual({ what, status: Number(status) });
      const replayed = answer.headers.has("idempotency-replayed");
      expect({ what, replayed }).toEqual({ what, replayed: what.includes("Idempotency-Replayed") });
    }
  });
});

/** What it says of a port that it cannot have. */
async function refusal(port: string | undefined): Promise<string> {
  const started = spawn(process.execPath, ["--no-warnings", OFFLINE], {
    env: { ...process.env, PORT: port, IDEMPOTENCY_STORE: "" },
    stdio: ["ignore", "pipe", "pipe"],
  });
  onTestFinished(() => void started.kill());
  const exit = once(started, "exit");
  const [stdout, stderr] = await Promise.all([text(started.stdout), text(started.stderr)]);

  expect(stdout + stderr).not.toMatch(/DynamoDB|Offline|^\s+at /m);
  expect(await exit).toEqual([1, null]);
  return stderr;
}

test.each([
  [
    () => new URL(origin).port,
    /^Cannot listen on port \d+ of 127\.0\.0\.1: it is taken\. Set PORT/,
  ],
  [() => "65536", /^PORT must be an integer from 0 to 65535/],
  [() => "http", /^PORT must be an integer from 0 to 65535/],
])("a port that it cannot have is told before anything is started", async (port, says) => {
  expect(await refusal(port())).toMatch(says);
});

test.each([
  ["not set", undefined],
  ["empty", ""],
])("where PORT is %s it wants the port that the page says", async (_, port) => {
  const [, documented] =
    /`npm run offline` +\| serves them on port (\d+) \(`PORT`\)/.exec(PAGE) ?? [];
  // Somebody else may listen there, which does as well: it must not get as far as to start anything.
  const holder = createServer().listen(Number(documented), "127.0.0.1");
  onTestFinished(() => void holder.close());
  await once(holder, "listening").catch(() => undefined);

  expect(await refusal(port)).toContain(`Cannot listen on port ${documented} of 127.0.0.1`);
});
