/** The deployment tools. They are many times as heavy as the rest, so they are installed when they are first needed. */
import { execFile } from "node:child_process";
import { copyFile, mkdtemp, readFile, rename, rm } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const root = fileURLToPath(new URL("../../..", import.meta.url));
const folder = `${root}infra/deploy`;
const modules = `${folder}/node_modules`;

/** Of the lock file that was installed; where it differs from the project's, something was updated. */
const INSTALLED = "installed-from.json";

/** A slow network, not a hung one. */
const INSTALL_TIMEOUT_MS = 600_000;

/** The path of `sls`, installed first where it is missing or of another version. */
export async function serverless(): Promise<string> {
  if (!(await isInstalled())) await install();
  return `${modules}/serverless/bin/serverless.js`;
}

async function isInstalled(): Promise<boolean> {
  const [wanted, installed] = await Promise.all([
    readFile(`${folder}/package-lock.json`, "utf8"),
    readFile(`${modules}/${INSTALLED}`, "utf8").catch(() => undefined),
  ]);
  return installed === wanted;
}

/** Beside, and moved into place when it is whole: several processes may install at once, or be stopped at any time. */
async function install(): Promise<void> {
  console.error("Installing the deployment tools of infra/deploy (npm ci).");
  const beside = await mkdtemp(`${root}dist/tools-`);
  try {
    for (const name of ["package.json", "package-lock.json"]) {
      await copyFile(`${folder}/${name}`, `${beside}/${name}`);
    }
    const options = { cwd: beside, timeout: INSTALL_TIMEOUT_MS };
    await promisify(execFile)("npm", ["ci", "--no-audit", "--no-fund"], options);
    await rename(`${beside}/package-lock.json`, `${beside}/node_modules/${INSTALLED}`);
    // Somebody else was faster, and is using it already.
    if (await isInstalled()) return;
    await rename(modules, `${beside}/old`).catch(ignoring("ENOENT"));
    await rename(`${beside}/node_modules`, modules).catch(ignoring("ENOTEMPTY", "EEXIST"));
  } finally {
    await rm(beside, { recursive: true, force: true });
  }
}

function ignoring(...codes: readonly string[]) {
  return (error: NodeJS.ErrnoException): void => {
    if (!codes.includes(error.code ?? "")) throw error;
  };
}
