/** Runs test files in a directory until one fails. */
import { spawn } from "node:child_process";
import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";

export const TIME_LIMIT = "the time limit";

export type Verdict = { readonly passed: true } | Failure;

export interface Failure {
  readonly passed: false;
  /** The test that failed, or what else. */
  readonly by: string;
  /** Where that is; all of them where none came to an end. */
  readonly files: readonly string[];
  /** Whether it is one test that failed, and not a file as a whole. */
  readonly isTest: boolean;
}

/** Of Vitest's JSON report, what is read here. */
interface Report {
  readonly testResults: readonly {
    readonly name: string;
    readonly status: string;
    readonly message?: string;
    readonly assertionResults: readonly { readonly status: string; readonly fullName: string }[];
  }[];
}

/**
 * @param limitMs After which it counts as hanging.
 * @param only Of these tests, those so named.
 */
export async function runTests(
  root: string,
  files: readonly string[],
  limitMs: number,
  only?: string,
): Promise<Verdict> {
  const outputFile = join(root, "report.json");
  await rm(outputFile, { force: true });
  const args = [
    "run",
    "--bail=1",
    "--maxWorkers=1",
    "--reporter=json",
    `--outputFile=${outputFile}`,
  ];
  const vitest = join(root, "node_modules/vitest/vitest.mjs");
  // A group of its own, so that the servers that tests start end with it.
  const filter = only === undefined ? [] : ["-t", `^${escaped(only)}$`];
  const child = spawn(process.execPath, [vitest, ...args, ...filter, ...files], {
    cwd: root,
    stdio: "ignore",
    detached: true,
  });
  const timer = setTimeout(() => killGroup(child.pid), limitMs);
  const code = await new Promise((resolve) => child.once("exit", resolve));
  clearTimeout(timer);
  if (code === 0) return { passed: true };
  killGroup(child.pid);
  const report = await readFile(outputFile, "utf8").catch(() => undefined);
  if (report === undefined) return { passed: false, by: TIME_LIMIT, files, isTest: false };
  const failure = failureIn(JSON.parse(report) as Report, root);
  return failure ?? { passed: false, by: "an unhandled error", files, isTest: false };
}

function failureIn({ testResults }: Report, root: string): Failure | undefined {
  const failed = testResults.find(({ status }) => status === "failed");
  if (failed === undefined) return undefined;
  const test = failed.assertionResults.find(({ status }) => status === "failed");
  const by = test?.fullName ?? `the file: ${failed.message ?? ""}`;
  return {
    passed: false,
    by,
    files: [failed.name.slice(root.length + 1)],
    isTest: test !== undefined,
  };
}

/** What is over is no mistake. */
function killGroup(pid: number | undefined): void {
  try {
    if (pid !== undefined) process.kill(-pid, "SIGKILL");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

function escaped(text: string): string {
  return text.replaceAll(/[$()*+.?[\\\]^{|}]/g, String.raw`\$&`);
}
