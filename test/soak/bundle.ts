/** The process under test in plain JavaScript, from the sources as they are now. */
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { join, resolve } from "node:path";
import { build } from "esbuild";

/** Below node_modules, so that packages are found from there. */
const CACHE = resolve("node_modules/.cache/soak");

export interface ServerFile extends AsyncDisposable {
  readonly path: string;
}

export async function bundleServer(): Promise<ServerFile> {
  await mkdir(CACHE, { recursive: true });
  const folder = await mkdtemp(join(CACHE, "run-"));
  const path = join(folder, "server.mjs");
  await build({
    entryPoints: [resolve("test/soak/server.ts")],
    outfile: path,
    bundle: true,
    platform: "node",
    target: "node20",
    format: "esm",
    packages: "external",
    logLevel: "warning",
  });
  return {
    path,
    [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }),
  };
}
