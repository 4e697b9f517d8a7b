/** What a Lambda handler on DynamoDB weighs, and how long its import takes, with the kit and with Powertools. */
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";
import type { Bench } from "../bench.js";
import { onFirstCore } from "../machine.js";
import { benchFile, ROOT } from "../paths.js";
import { wanted } from "../settings.js";
import { spread, type Spread } from "../statistics.js";

export interface Bundle {
  readonly subject: string;
  readonly bytes: number;
  readonly gzipBytes: number;
  readonly importMs: Spread;
}

/** Starts for each round: they are short and vary. */
const STARTS = 5;

// Some of the SDK's parts are CommonJS and call `require`.
const BANNER =
  "import { createRequire as __cr } from 'node:module'; const require = __cr(import.meta.url);";

const TIMED_IMPORT =
  "const before = performance.now(); await import(process.argv[1]); console.log(performance.now() - before);";

export async function measureLambda({ settings, progress }: Bench): Promise<Bundle[]> {
  if (!wanted(settings, "lambda")) return [];
  const folder = await mkdtemp(join(tmpdir(), "idempotency-kit-bundle-"));
  try {
    const names = ["kit", "powertools"].filter(
      (name) => name !== "kit" || existsSync(join(ROOT, "dist/src/lambda.js")),
    );
    const bundles = new Map<string, string>();
    for (const name of names) bundles.set(name, await bundle(name, folder));
    const times = new Map(names.map((name) => [name, [] as number[]]));
    for (let start = 0; start < settings.rounds * STARTS; start += 1) {
      for (const [name, file] of bundles) {
        progress(`lambda: start ${start + 1}, ${name}`);
        times.get(name)?.push(await importTime(file));
      }
    }
    return await Promise.all(
      [...bundles].map(async ([subject, file]) => {
        const code = await readFile(file);
        const importMs = spread(times.get(subject) ?? []);
        return { subject, bytes: code.length, gzipBytes: gzipSync(code).length, importMs };
      }),
    );
  } finally {
    await rm(folder, { recursive: true });
  }
}

async function bundle(name: string, folder: string): Promise<string> {
  const outfile = join(folder, `${name}.mjs`);
  await build({
    entryPoints: [benchFile("lambda", `${name}.mjs`)],
    outfile,
    bundle: true,
    minify: true,
    platform: "node",
    target: "node20",
    format: "esm",
    mainFields: ["module", "main"],
    banner: { js: BANNER },
    logLevel: "warning",
  });
  return outfile;
}

async function importTime(file: string): Promise<number> {
  const [command, args] = onFirstCore(process.execPath, [
    "--input-type=module",
    "--eval",
    TIMED_IMPORT,
    file,
  ]);
  // What Lambda sets, and the SDK would look for elsewhere.
  const env = { ...process.env, AWS_REGION: "eu-central-1", NODE_NO_WARNINGS: "1" };
  const { stdout } = await promisify(execFile)(command, args, { env });
  return Number(stdout);
}
