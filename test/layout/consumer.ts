/** A project that uses the built package as its users do: by name, through `exports`, from a folder of its own. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const TSC = join(ROOT, "node_modules/typescript/bin/tsc");

const COMPILER_OPTIONS = {
  target: "ES2023",
  module: "NodeNext",
  types: ["node"],
  strict: true,
  outDir: "out",
};

/** Whatever port a program listens on, it gets a free one, and says which. */
const FREE_PORT = `
import { Server } from "node:net";
const { listen } = Server.prototype;
Server.prototype.listen = function () {
  return listen.call(this, 0, "127.0.0.1", () => console.log(this.address().port));
};
`;

export interface Consumer extends AsyncDisposable {
  readonly folder: string;
}

/** What a project has of its own. */
interface Setup {
  /** What the sources import besides the package and Express. */
  readonly peers?: readonly string[];
  readonly compilerOptions?: Readonly<Record<string, unknown>>;
}

export async function consumer(
  sources: Readonly<Record<string, string>>,
  { peers = [], compilerOptions = {} }: Setup = {},
): Promise<Consumer> {
  const entry = join(ROOT, "dist/src/index.js");
  if (!existsSync(entry)) throw new Error(`${entry} is missing: run \`npm run build\` first.`);
  const folder = await mkdtemp(join(tmpdir(), "idempotency-kit-"));
  const modules = join(folder, "node_modules");
  await mkdir(modules);
  await symlink(ROOT, join(modules, "idempotency-kit"));
  for (const name of ["express", "prom-client", "@opentelemetry", "@types", ...peers]) {
    await symlink(join(ROOT, "node_modules", name), join(modules, name));
  }
  const files = {
    "package.json": '{ "type": "module" }',
    "tsconfig.json": JSON.stringify({
      compilerOptions: { ...COMPILER_OPTIONS, ...compilerOptions },
    }),
    "free-port.mjs": FREE_PORT,
    ...sources,
  };
  for (const [name, content] of Object.entries(files)) await writeFile(join(folder, name), content);
  return { folder, [Symbol.asyncDispose]: () => rm(folder, { recursive: true }) };
}

/** Type-checks and compiles; resolves to what the compiler complained about. */
export async function compile({ folder }: Consumer): Promise<string> {
  const tsc = spawn(process.execPath, [TSC], {
    cwd: folder,
    stdio: ["ignore", "pipe", "inherit"],
  });
  return await text(tsc.stdout);
}

/** Runs a compiled source that starts a server; resolves to its address once it listens. */
export async function serve(
  { folder }: Consumer,
  name: string,
  env: Readonly<Record<string, string>> = {},
) {
  const preload = join(folder, "free-port.mjs");
  const child = spawn(process.execPath, ["--import", preload, join(folder, "out", name)], {
    env: { ...process.env, ...env },
    stdio: ["ignore", "pipe", "inherit"],
  });
  const exit = once(child, "exit");
  for await (const line of createInterface(child.stdout)) {
    // A framework may have a log of its own.
    if (!/^\d+$/.test(line)) continue;
    return {
      origin: `http://127.0.0.1:${line}`,
      async [Symbol.asyncDispose]() {
        child.kill("SIGKILL");
        await exit;
      },
    };
  }
  throw new Error(`${name} ended without a server.`);
}

/** What a program prints that imports compiled sources. */
export async function printed(
  { folder }: Consumer,
  code: string,
  env: Readonly<Record<string, string>>,
): Promise<string> {
  const program = join(folder, "out", "printed.mjs");
  await writeFile(program, code);
  const child = spawn(process.execPath, [program], {
    env: { ...process.env, ...env },
    stdio: ["ignore", "pipe", "inherit"],
  });
  return (await text(child.stdout)).trim();
}
