/** The built tool in a process of its own, and what it says. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { expect } from "vitest";

export const TOOL = fileURLToPath(new URL("../../dist/infra/cli.js", import.meta.url));

export interface Said {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Without the environment of whoever runs the tests. */
export async function tool(
  args: readonly string[],
  env: Record<string, string> = {},
): Promise<Said> {
  if (!existsSync(TOOL)) throw new Error(`${TOOL} is missing: run \`npm run build\` first.`);
  const child = spawn(process.execPath, ["--no-warnings", TOOL, ...args], {
    env,
    stdio: ["ignore", "pipe", "pipe"],
  });
  const closed = once(child, "close");
  const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr)]);
  await closed;
  expect(stdout + stderr).not.toMatch(/^\s+at .*:\d+:\d+\)?$/m);
  return { code: child.exitCode, stdout, stderr };
}

/** With `--json`: one document, and nothing beside it. */
export async function asked(
  args: readonly string[],
  env: Record<string, string>,
): Promise<{ code: number | null; json: Record<string, unknown> }> {
  const { code, stdout, stderr } = await tool([...args, "--json"], env);
  expect(stderr).toBe("");
  return { code, json: JSON.parse(stdout) as Record<string, unknown> };
}
