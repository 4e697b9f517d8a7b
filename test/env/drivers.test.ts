/** The built package where nothing else is installed. */
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { cp, mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, onTestFinished, test } from "vitest";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

const PROGRAM = `
import { storeFromEnv } from "idempotency-kit/env";
const outcome = await storeFromEnv().then(async (store) => {
  await store.close?.();
  return "opened";
}, (error) => error.message);
console.log(outcome);
`;

/** What `storeFromEnv` comes to in a project with these drivers: a message, or "opened". */
async function outcome(url: string, drivers: readonly string[] = []): Promise<string> {
  const dist = join(ROOT, "dist");
  if (!existsSync(dist)) throw new Error(`${dist} is missing: run \`npm run build\` first.`);
  const folder = await mkdtemp(join(tmpdir(), "idempotency-kit-"));
  onTestFinished(() => rm(folder, { recursive: true }));
  const kit = join(folder, "node_modules/idempotency-kit");
  await mkdir(kit, { recursive: true });
  // A link would resolve drivers from where it leads.
  await cp(dist, join(kit, "dist"), { recursive: true });
  await cp(join(ROOT, "package.json"), join(kit, "package.json"));
  for (const name of drivers) {
    await symlink(join(ROOT, "node_modules", name), join(folder, "node_modules", name));
  }
  const program = join(folder, "program.mjs");
  await writeFile(program, PROGRAM);
  const env = { IDEMPOTENCY_STORE: url };
  const { stdout } = await promisify(execFile)(process.execPath, [program], { env });
  return stdout.trim();
}

test("memory: needs no driver", async () => {
  expect(await outcome("memory:")).toBe("opened");
});

test.each([
  ["redis://:hunter2@127.0.0.1", [], "npm install ioredis@6"],
  ["redlock:redis://a,redis://b,redis://c", ["ioredis"], "npm install redlock@5.0.0-beta.2"],
  ["dynamodb://payments", [], "npm install @aws-sdk/client-dynamodb@3"],
])("%s with %j says what to install", async (url, drivers, command) => {
  const message = await outcome(url, drivers);
  expect(message).toMatch(/^The environment: IDEMPOTENCY_STORE is \w+, whose driver is not/);
  expect(message).toMatch(new RegExp(`: ${command}$`));
});
