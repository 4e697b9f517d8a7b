/** The tool as it is published: nothing that it needs is left out. */
import { execFile } from "node:child_process";
import { mkdir, mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, onTestFinished, test } from "vitest";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const run = promisify(execFile);

test("the packed package has a bin that runs without a driver", async () => {
  const folder = await mkdtemp(join(tmpdir(), "idempotency-kit-"));
  onTestFinished(() => rm(folder, { recursive: true }));
  await run("npm", ["pack", "--ignore-scripts", "--pack-destination", folder], { cwd: ROOT });
  const [tarball = ""] = await readdir(folder);
  const kit = join(folder, "node_modules/idempotency-kit");
  await mkdir(kit, { recursive: true });
  await run("tar", ["-xzf", join(folder, tarball), "-C", kit, "--strip-components=1"]);

  const manifest = JSON.parse(await readFile(join(kit, "package.json"), "utf8")) as {
    bin: Record<string, string>;
  };
  const bin = join(kit, manifest.bin["idempotency-kit"] ?? "");
  expect(await readFile(bin, "utf8")).toMatch(/^#!\/usr\/bin\/env node\n/);
  const env = { IDEMPOTENCY_STORE: "memory:" };
  const { stdout } = await run(process.execPath, [bin, "doctor"], { env });
  expect(stdout).toMatch(/^Verdict +ready/m);
  const missing = { IDEMPOTENCY_STORE: "redis://127.0.0.1" };
  await expect(run(process.execPath, [bin, "doctor"], { env: missing })).rejects.toMatchObject({
    code: 1,
    stderr: expect.stringContaining("npm install ioredis@6"),
  });
}, 30_000);
