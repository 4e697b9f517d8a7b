import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { IdempotencyError } from "../../src/errors.js";
import { parseHttpOptions } from "../../src/http/options.js";
import { ERROR_CODES, problemFor } from "../../src/problem.js";
import { compile, consumer, serve, type Consumer } from "./consumer.js";
import { codeIn, paths, table, typescriptBlocks } from "./readme.js";

const root = new URL("../../", import.meta.url);
const page = readFileSync(new URL("README.md", root), "utf8");
const blocks = typescriptBlocks(page);

/** Errors that no client sees: they are for operators, or thrown to the program. */
const NOT_FOR_CLIENTS = new Set(["NOT_FOUND", "OPTIONS_INVALID", "EVENT_UNKNOWN"]);

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
    const named = paths(page);
    expect(named).toEqual(expect.arrayContaining(["src/store.ts", "stores/", "LICENSE"]));
    expect(named.filter((path) => !existsSync(fileURLToPath(new URL(path, root))))).toEqual([]);
  });

  it("lists every option of the middleware once", () => {
    const listed = table(page, "Option").map(([name]) => name);
    const options = Object.keys(parseHttpOptions()).map((name) => `\`${name}\``);
    expect(new Set(listed)).toEqual(new Set(options));
    expect(listed).toHaveLength(options.length);
  });

  it("lists the options' defaults; where they are functions, in words", () => {
    const defaults = Object.entries(parseHttpOptions());
    const rows = new Map(table(page, "Option").map(([name, value]) => [name, value]));
    for (const [name, fallback] of defaults) {
      const listed = codeIn(rows.get(`\`${name}\``));
      const expected = typeof fallback === "function" ? undefined : fallback;
      expect({ name, listed }).toEqual({ name, listed: expected });
    }
  });

  it("lists every problem that a client can see, with its status, title and code", () => {
    const listed = table(page, "Status").map(([status, code, title]) => [status, code, title]);
    const options = parseHttpOptions();
    const problems = ERROR_CODES.filter((code) => !NOT_FOR_CLIENTS.has(code)).map((code) => {
      const { body } = problemFor(new IdempotencyError(code, ""), options);
      const { status, title } = JSON.parse(body.toString()) as { status: number; title: string };
      return [String(status), `\`${code}\``, title];
    });
    expect(new Set(listed)).toEqual(new Set(problems));
    expect(listed).toHaveLength(problems.length);
  });
});

describe("the code in README.md", () => {
  let project: Consumer;
  let complaints: string;

  beforeAll(async () => {
    project = await consumer({
      ...Object.fromEntries(blocks.map(({ line, code }) => [`line-${line}.ts`, code])),
      "my-store.ts": 'export { memoryStore as myStore } from "idempotency-kit/memory";',
    });
    complaints = await compile(project);
  });

  afterAll(() => project[Symbol.asyncDispose]());

  it("is there, uses the package by its name, and type-checks", () => {
    expect(blocks.length).toBeGreaterThan(0);
    expect(blocks.filter(({ code }) => !/from "idempotency-kit[/"]/.test(code))).toEqual([]);
    expect(complaints).toBe("");
  });

  it("shows a payment in fewer than 15 lines", () => {
    const lengths = blocks.map(({ code }) => code.trimEnd().split("\n").length);
    expect(Math.max(...lengths)).toBeLessThan(15);
  });

  it.each(blocks.filter(({ runnable }) => runnable))(
    "from line $line on runs: a payment retried is answered with the same bytes",
    async ({ line }) => {
      await using server = await serve(project, `line-${line}.js`);
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

  it.each(blocks.filter(({ code }) => code.includes("export const handler = idempotentHandler")))(
    "from line $line on handles events: a payment retried is answered with the same body",
    async ({ line }) => {
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
