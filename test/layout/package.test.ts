/** The package as npm gets it: its parts work for whoever has installed nothing else, and its types are found. */
import { build } from "esbuild";
import { execFile } from "node:child_process";
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { publint } from "publint";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { nodeOf, NODES } from "./nodes.js";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const run = promisify(execFile);

let folder: string;
let tarball: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "idempotency-kit-pack-"));
  // What is built is there, and other tests read it now.
  await run("npm", ["pack", "--ignore-scripts", "--pack-destination", folder], { cwd: ROOT });
  tarball = join(folder, (await readdir(folder))[0] ?? "");
});

afterAll(() => rm(folder, { recursive: true }));

/** An empty project with the package and these drivers installed, and nothing else. */
async function project(...drivers: string[]): Promise<string> {
  const home = await mkdtemp(join(folder, "user-"));
  const installed = join(home, "node_modules/idempotency-kit");
  await mkdir(installed, { recursive: true });
  await run("tar", ["xzf", tarball, "--strip-components=1", "-C", installed]);
  for (const driver of drivers) {
    await mkdir(join(home, "node_modules", driver, ".."), { recursive: true });
    await symlink(join(ROOT, "node_modules", driver), join(home, "node_modules", driver));
  }
  return home;
}

async function printed(
  home: string,
  type: "module" | "commonjs",
  code: string,
  node = process.execPath,
): Promise<string> {
  const args = ["--no-warnings", `--input-type=${type}`, "-e", code];
  const { stdout } = await run(node, args, { cwd: home });
  return stdout.trim();
}

const entries = async (): Promise<string[]> => {
  const { exports } = JSON.parse(await readFile(join(ROOT, "package.json"), "utf8")) as {
    exports: Record<string, unknown>;
  };
  return Object.keys(exports).filter((entry) => !entry.endsWith(".json"));
};

describe("the package", () => {
  it("is what publint calls good", async () => {
    const { messages } = await publint({ pkgDir: ROOT, strict: true, pack: "npm" });
    expect(messages).toEqual([]);
  });

  it("has types for whoever imports it", async () => {
    const attw = join(ROOT, "node_modules/.bin/attw");
    const checked = run(attw, [tarball, "--profile", "esm-only", "--quiet"]);
    await expect(checked).resolves.toBeDefined();
  });

  it("holds no tests, and nothing that only this repository needs", async () => {
    const { stdout } = await run("tar", ["tzf", tarball]);
    const strangers = stdout
      .split("\n")
      .filter((path) => /^package\/(test|docs|coverage)\//.test(path));
    expect(strangers).toEqual([]);
  });

  it("depends on nothing", async () => {
    const { dependencies } = JSON.parse(await readFile(join(ROOT, "package.json"), "utf8")) as {
      dependencies?: object;
    };
    expect(dependencies).toBeUndefined();
  });

  it("asks for the Nodes that the README names, and is tested on the oldest of each", async () => {
    const [manifest = "", readme] = await Promise.all(
      ["package.json", "README.md"].map((name) => readFile(join(ROOT, name), "utf8")),
    );
    const { engines } = JSON.parse(manifest) as { engines: { node: string } };

    expect(engines.node).toBe("^20.19.0 || >=22.12.0");
    expect(readme).toContain("Node 20.19, or 22.12 and later");
    if (process.platform !== "linux" || process.arch !== "x64") return;
    expect(NODES).toEqual(expect.arrayContaining(["20.19.0", "22.12.0"]));
  });

  it("is packed under the name that the README gives it", async () => {
    const readme = await readFile(join(ROOT, "README.md"), "utf8");
    const named = new Set(readme.match(/idempotency-kit-\d[\w.-]*\.tgz/g));
    expect(named).toEqual(new Set([basename(tarball)]));
  });
});

const USERS = [
  { user: "memory alone", drivers: [], entry: "memory", use: "memoryStore()" },
  {
    user: "Redis alone",
    drivers: ["ioredis"],
    entry: "redis",
    use: 'connectRedis("redis://127.0.0.1:1")',
  },
  {
    user: "DynamoDB alone",
    drivers: ["@aws-sdk/client-dynamodb"],
    entry: "dynamodb",
    use: 'dynamodbStore({ tableName: "t", region: "eu-central-1" })',
  },
];

/** An empty project where npm has installed the package and these drivers, as its users do. */
async function installedByNpm(...drivers: string[]): Promise<string> {
  const home = await mkdtemp(join(folder, "npm-"));
  await writeFile(join(home, "package.json"), "{}");
  const { devDependencies } = JSON.parse(await readFile(join(ROOT, "package.json"), "utf8")) as {
    devDependencies: Record<string, string>;
  };
  const versions = drivers.map((driver) => `${driver}@${devDependencies[driver]}`);
  const quietly = ["--prefer-offline", "--no-audit", "--no-fund", "--loglevel=error"];
  await run("npm", ["install", ...quietly, tarball, ...versions], { cwd: home });
  return home;
}

/** As npm names their folders. */
const DRIVERS = new Set(["ioredis", "redlock", "@aws-sdk", "@middy", "@opentelemetry"]);

describe.each(USERS)("who uses $user", ({ drivers, entry, use }) => {
  const made = use.slice(0, use.indexOf("("));
  const check = `const thing = ${use}; console.log(typeof idempotency, typeof thing); process.exit();`;
  let home: string;

  beforeAll(async () => {
    home = await installedByNpm(...drivers);
  }, 120_000);

  it("gets no other driver by npm install", async () => {
    const names = await readdir(join(home, "node_modules"));
    const wanted = drivers.map((driver) => driver.split("/")[0]);
    expect(names).toContain("idempotency-kit");
    expect(names.filter((name) => DRIVERS.has(name))).toEqual(wanted);
  });

  it("imports it", async () => {
    const code = `import { idempotency } from "idempotency-kit"; import { ${made} } from "idempotency-kit/${entry}"; ${check}`;
    expect(await printed(home, "module", code)).toBe("function object");
  });

  it("requires it from CommonJS", async () => {
    const code = `const { idempotency } = require("idempotency-kit"); const { ${made} } = require("idempotency-kit/${entry}"); ${check}`;
    expect(await printed(home, "commonjs", code)).toBe("function object");
  });

  it("has the tool", async () => {
    const { stdout } = await run("npx", ["idempotency-kit", "--version"], { cwd: home });
    expect(stdout.trim()).toMatch(/^\d+\.\d+\.\d+/);
  });
});

const ALL_PEERS = [
  "ioredis",
  "redlock",
  "@aws-sdk/client-dynamodb",
  "@middy/core",
  "@opentelemetry/api",
];

it("every entry can be imported where all optional peers are installed, and runs nothing then", async () => {
  const home = await project(...ALL_PEERS);
  for (const entry of await entries()) {
    const name = `idempotency-kit${entry.slice(1)}`;
    const code = `
      await import("${name}");
      const left = process.getActiveResourcesInfo().filter((kind) => /Timeout|TCP|Signal/.test(kind));
      console.log(left.length);`;
    expect({ entry, resources: await printed(home, "module", code) }).toEqual({
      entry,
      resources: "0",
    });
  }
});

describe.each(NODES)("on Node %s", (version) => {
  let node: string;
  beforeAll(async () => {
    node = await nodeOf(version);
  }, 400_000);

  it("every entry can be required from CommonJS, and none warns but 22.12", async () => {
    const home = await project(...ALL_PEERS);
    const names = (await entries()).map((entry) => `idempotency-kit${entry.slice(1)}`);
    const program = join(home, "user.cjs");
    await writeFile(
      program,
      `const kit = ${JSON.stringify(names)}.map((name) => [name, Object.keys(require(name)).length > 0]);
      console.log(process.versions.node, JSON.stringify(kit));`,
    );
    const { stdout, stderr } = await run(node, [program], { cwd: home });

    // There it was still called experimental.
    expect(stderr.includes("ExperimentalWarning")).toBe(version.startsWith("22.12."));
    expect(stdout.trim()).toBe(`${version} ${JSON.stringify(names.map((name) => [name, true]))}`);
  });

  it("a request is answered, and its retry replayed, by what CommonJS required", async () => {
    const home = await project();
    const code = `
      const { createServer } = require("node:http");
      const { idempotency } = require("idempotency-kit");
      const { memoryStore } = require("idempotency-kit/memory");
      const safe = idempotency(memoryStore());
      const server = createServer(safe.wrap((req, res) => res.writeHead(201).end(String(Math.random()))));
      server.listen(0, "127.0.0.1", async () => {
        const url = "http://127.0.0.1:" + server.address().port;
        const pay = () => fetch(url, { method: "POST", headers: { "Idempotency-Key": "k" } });
        const texts = [await (await pay()).text(), await (await pay()).text()];
        console.log(texts[0] === texts[1] && texts[0].length > 0);
        process.exit();
      });`;

    expect(await printed(home, "commonjs", code, node)).toBe("true");
  });

  it("the package is imported still, not required, where that is turned off, as AWS Lambda does", async () => {
    const home = await project();
    const off = "--no-experimental-require-module";
    const required = run(node, [off, "-e", 'require("idempotency-kit")'], { cwd: home });
    await expect(required).rejects.toMatchObject({
      stderr: expect.stringContaining("ERR_REQUIRE_ESM") as string,
    });
    const code = 'import { idempotency } from "idempotency-kit"; console.log(typeof idempotency);';
    const imported = await run(node, [off, "--input-type=module", "-e", code], { cwd: home });
    expect(imported.stdout.trim()).toBe("function");
  });
});

it("the Fetch door needs of Node what its page names, and nothing else", async () => {
  const { metafile } = await build({
    entryPoints: [join(ROOT, "src/fetch.ts")],
    bundle: true,
    platform: "node",
    format: "esm",
    write: false,
    metafile: true,
  });
  const needed = Object.values(metafile.outputs).flatMap(({ imports }) =>
    imports.map(({ path }) => path.replace("node:", "")),
  );
  const page = await readFile(join(ROOT, "docs/fetch.md"), "utf8");
  const [, sentence = ""] = /^It needs Node, or (.*)$/m.exec(page) ?? [];
  const named = [...sentence.matchAll(/`(\w+)`/g)].map(([, name]) => name);
  expect(new Set(named)).toEqual(new Set(["Buffer", ...needed]));
});
