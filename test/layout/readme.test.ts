import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";
import { startDynamodb, type DynamodbLocal } from "../../infra/services/dynamodb.js";
import { startRedis, type RedisNode } from "../../infra/services/redis.js";
import { parseHttpOptions } from "../../src/http/options.js";
import { createTable } from "../../stores/dynamodb.js";
import { tool } from "../cli/tool.js";
import { fetchArguments } from "../support/curl.js";
import { compile, consumer, serve, type Consumer } from "./consumer.js";
import { codeIn, paths, table, typescriptBlocks } from "./readme.js";

const root = new URL("../../", import.meta.url);
const page = readFileSync(new URL("README.md", root), "utf8");
const blocks = typescriptBlocks(page);

interface Paid {
  readonly statusCode: number;
  readonly body: string;
}

describe("README.md", () => {
  it("names the two commands that set everything up", () => {
    expect(page).toContain("\nnpm ci && npm start\n");
    expect(page).toContain("\nnpm ci && npm test\n");
  });

  it("leads to files and folders that exist", () => {
    const named = paths(page).map((path) => path.replace(/#.*/, ""));
    expect(named).toEqual(expect.arrayContaining(["src/store.ts", "docs/examples/", "LICENSE"]));
    expect(named.filter((path) => !existsSync(fileURLToPath(new URL(path, root))))).toEqual([]);
  });

  it("shows options of the kit, with their defaults, and no other", () => {
    const defaults = new Map<string, unknown>(Object.entries(parseHttpOptions()));
    for (const [name = "", fallback] of table(page, "Option")) {
      const option = name.replaceAll("`", "");
      const actual = defaults.get(option);
      expect([...defaults.keys()]).toContain(option);
      const listed = codeIn(fallback);
      // In words where it is a function, or long.
      const isInWords = listed === undefined && typeof actual !== "number";
      expect({ option, fallback: isInWords ? actual : listed }).toEqual({
        option,
        fallback: actual,
      });
    }
  });
});

describe("the code in README.md", () => {
  let project: Consumer;
  let complaints: string;
  let redis: RedisNode;
  let dynamodb: DynamodbLocal;

  beforeAll(async () => {
    [redis, dynamodb] = await Promise.all([startRedis(), startDynamodb()]);
    // As Lambda has them, and the SDK looks for them.
    vi.stubEnv("AWS_ENDPOINT_URL_DYNAMODB", dynamodb.url);
    vi.stubEnv("AWS_REGION", "eu-central-1");
    vi.stubEnv("AWS_ACCESS_KEY_ID", "anyone");
    vi.stubEnv("AWS_SECRET_ACCESS_KEY", "anything");
    project = await consumer(
      Object.fromEntries(blocks.map(({ line, code }) => [`line-${line}.ts`, code])),
    );
    complaints = await compile(project);
  }, 300_000);

  afterAll(async () => {
    vi.unstubAllEnvs();
    await Promise.all([redis.close(), dynamodb.close(), project[Symbol.asyncDispose]()]);
  });

  it("is there, uses the package by its name, and type-checks", () => {
    expect(blocks.length).toBeGreaterThan(0);
    expect(blocks.filter(({ code }) => !/from "idempotency-kit[/"]/.test(code))).toEqual([]);
    expect(complaints).toBe("");
  });

  it("shows a payment in fewer than 15 lines", () => {
    const lengths = blocks.map(({ code }) => code.trimEnd().split("\n").length);
    expect(Math.max(...lengths)).toBeLessThan(15);
  });

  const runnable = blocks.filter((block) => block.runnable);
  const onRedis = runnable.filter(({ code }) => code.includes("storeFromEnv"));

  it.each([
    ...runnable.map(({ line }) => ({ line, store: "memory" })),
    ...onRedis.map(({ line }) => ({ line, store: "Redis" })),
  ])(
    "from line $line on runs, on $store: a payment retried is answered with the same bytes",
    async ({ line, store }) => {
      const url = store === "memory" ? "memory:" : redis.url;
      await using server = await serve(project, `line-${line}.js`, { IDEMPOTENCY_STORE: url });
      const pay = (amount: number) =>
        fetch(`${server.origin}/payments`, {
          method: "POST",
          headers: { "Content-Type": "application/json", "Idempotency-Key": "k" },
          body: JSON.stringify({ amount }),
        });
      const [first, retry, other] = [await pay(1), await pay(1), await pay(2)];
      expect([first, retry, other].map(({ status }) => status)).toEqual([201, 201, 422]);
      expect(retry.headers.get("idempotency-replayed")).toBe("true");
      expect(await retry.text()).toBe(await first.text());
    },
  );

  it("its shell lines do what they say: Redis as it is started there is fit, a retry is replayed, the tool finds it", async () => {
    const [, options = ""] = /`docker run -p \S+ redis:7([^`]*)`/.exec(page) ?? [];
    expect(page.includes(`\`redis-server${options}\``)).toBe(true);
    const given = [...options.matchAll(/--(\S+) (\S+)/g)].map(([, name, value]) => [name, value]);
    const node = await startRedis({
      persistence: "none",
      config: Object.fromEntries(given) as Record<string, string>,
    });
    onTestFinished(() => node.close());
    const lines = (/^export IDEMPOTENCY_STORE=redis:.*?^```$/ms.exec(page)?.[0] ?? "").split("\n");
    const env = { IDEMPOTENCY_STORE: node.url };
    const [server] = onRedis;
    await using service = await serve(project, `line-${server?.line}.js`, env);
    const said: unknown[] = [];
    for (const line of lines) {
      const [, args = ""] = /^npx idempotency-kit (.+)$/.exec(line) ?? [];
      if (args !== "") said.push(await tool(args.split(" "), env));
      if (!line.startsWith("curl ")) continue;
      const [url, init] = fetchArguments(line);
      const there = url.replace("http://localhost:3000", service.origin);
      const [first, retry] = [await fetch(there, init), await fetch(there, init)];
      expect([first.status, retry.status]).toEqual([201, 201]);
      expect(retry.headers.get("idempotency-replayed")).toBe("true");
      expect(await retry.text()).toBe(await first.text());
    }

    expect(said).toMatchObject([
      { code: 0, stdout: expect.stringContaining("ready (0 errors") },
      { code: 0, stdout: expect.stringContaining("Status   201") },
    ]);
  });

  it.each(blocks.filter(({ code }) => code.includes("export const handler = idempotentHandler")))(
    "from line $line on handles events, on DynamoDB: a payment retried is answered with the same body",
    async ({ line, code }) => {
      const { tableName = "" } = /tableName: "(?<tableName>[^"]+)"/.exec(code)?.groups ?? {};
      await createTable({ tableName });
      const built = pathToFileURL(join(project.folder, `out/line-${line}.js`)).href;
      const { handler } = (await import(built)) as { handler: (event: unknown) => Promise<Paid> };
      const pay = (amount: number) =>
        handler({
          requestContext: { http: { method: "POST" } },
          rawPath: "/payments",
          headers: { "idempotency-key": "k" },
          body: JSON.stringify({ amount }),
        });
      const [first, retry, other] = [await pay(1), await pay(1), await pay(2)];
      expect([first, retry, other].map(({ statusCode }) => statusCode)).toEqual([201, 201, 422]);
      expect(retry.body).toBe(first.body);
    },
  );
});

describe("the checks of README.md", () => {
  const sample = [
    "# A",
    "[b](b.md), [c](https://example.com) and `src/d.ts`, `application/json`",
    "```ts runnable",
    "one();",
    "```",
    "| Name | Value |",
    "| ---- | ----- |",
    "| `e` | `1_000` |",
    "| `f` | in words |",
  ].join("\n");

  it("find blocks, paths, table cells and values", () => {
    expect(typescriptBlocks(sample)).toEqual([{ line: 4, runnable: true, code: "one();\n" }]);
    expect(paths(sample)).toEqual(["b.md", "src/d.ts"]);
    expect(table(sample, "Name")).toEqual([
      ["`e`", "`1_000`"],
      ["`f`", "in words"],
    ]);
    expect(["`1_000`", '`["A_B"]`', "in words"].map(codeIn)).toEqual([1000, ["A_B"], undefined]);
  });

  it("see a wrong type in a block", async () => {
    const code = 'import { idempotency } from "idempotency-kit";\nidempotency(1);\n';
    await using project = await consumer({ "line-1.ts": code });
    expect(await compile(project)).toMatch(/^line-1\.ts\(2,13\): error TS2345/m);
  });
});
