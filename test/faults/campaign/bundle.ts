/** The server process in plain JavaScript, from the sources as they are now. */
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import { build, type OutputFile } from "esbuild";

/** Below node_modules, so that packages are found from there. */
const CACHE = resolve("node_modules/.cache/faults");

export interface Workplace {
  /** For journals and whatever else a run needs. */
  readonly folder: string;
  /** The server's file. */
  readonly server: string;
  remove(): Promise<void>;
}

export async function openWorkplace(): Promise<Workplace> {
  await mkdir(CACHE, { recursive: true });
  const folder = await mkdtemp(join(CACHE, "run-"));
  bundled ??= bundle();
  const files = await bundled;
  await Promise.all(
    files.map(({ path, contents }) => writeFile(join(folder, basename(path)), contents)),
  );
  return {
    folder,
    server: join(folder, "server.mjs"),
    remove: () => rm(folder, { recursive: true, force: true }),
  };
}

/** Once for all rounds. */
let bundled: Promise<OutputFile[]> | undefined;

async function bundle(): Promise<OutputFile[]> {
  const { outputFiles } = await build({
    entryPoints: [resolve("test/faults/campaign/server.ts")],
    outdir: CACHE,
    outExtension: { ".js": ".mjs" },
    write: false,
    bundle: true,
    // What is imported when it is needed is loaded only then: a process has to start within moments.
    splitting: true,
    platform: "node",
    target: "node20",
    format: "esm",
    packages: "external",
    logLevel: "warning",
  });
  return outputFiles;
}
