/** Server processes that cannot outlive the process that started them. */
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { accessSync, constants, readFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { setImmediate as nextTurn } from "node:timers/promises";

export interface LaunchOptions {
  readonly command: string;
  readonly args: readonly string[];
  /** A line of the server's output that says it takes connections. */
  readonly readyWhen: RegExp;
  readonly env?: Readonly<Record<string, string>>;
  /** Where it runs, and leaves what it writes. */
  readonly cwd?: string;
  readonly startTimeoutMs?: number;
}

export interface ServerProcess {
  readonly pid: number;
  readonly running: boolean;
  /** What it printed last, for error messages. */
  output(): string;
  /** SIGKILL, as a crash: not even a stopped one gets to act again. Resolves when it is gone. */
  kill(): Promise<void>;
  /** SIGSTOP, as a long pause; resolves when it has stopped. */
  stop(): Promise<void>;
  /** SIGCONT. */
  resume(): void;
}

/** Servers come up in tens of milliseconds; a busy CI machine may need seconds. */
const START_TIMEOUT_MS = 30_000;

/** Enough for the last page of a log. */
const MAX_OUTPUT_CHARS = 16_384;

const running = new Set<ChildProcess>();

// For machines without setpriv; where there is one, the kernel does this even after a SIGKILL of ours.
process.on("exit", () => {
  for (const child of running) child.kill("SIGKILL");
});

export function findOnPath(name: string): string | undefined {
  const folders = (process.env["PATH"] ?? "").split(delimiter).filter((folder) => folder !== "");
  return folders.map((folder) => join(folder, name)).find(isExecutable);
}

/** @throws {Error} with the server's last output if it ends or stays silent before it is ready. */
export async function launch(options: LaunchOptions): Promise<ServerProcess> {
  const child = spawnBound(options);
  running.add(child);
  child.once("exit", () => running.delete(child));
  let output = "";
  const keep = (chunk: string): void => {
    output = (output + chunk).slice(-MAX_OUTPUT_CHARS);
  };
  for (const stream of [child.stdout, child.stderr]) stream?.setEncoding("utf8").on("data", keep);
  try {
    await untilReady(child, options, () => output);
  } catch (error) {
    await signalled(child, "SIGKILL");
    throw error;
  }
  return handleOf(child, () => output);
}

function spawnBound({ command, args, env, cwd }: LaunchOptions): ChildProcess {
  const setpriv = process.platform === "linux" ? findOnPath("setpriv") : undefined;
  const [file, argv] =
    setpriv === undefined ? [command, args] : [setpriv, ["--pdeathsig", "KILL", command, ...args]];
  return spawn(file, argv, {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, ...env },
    cwd,
  });
}

function untilReady(
  child: ChildProcess,
  { command, readyWhen, startTimeoutMs = START_TIMEOUT_MS }: LaunchOptions,
  output: () => string,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const fail = (what: string): void => {
      clearTimeout(timer);
      reject(new Error(`${command} ${what}; its last output:\n${output()}`));
    };
    const timer = setTimeout(fail, startTimeoutMs, `was not ready in ${startTimeoutMs} ms`);
    const look = (): void => {
      if (!readyWhen.test(output())) return;
      child.stdout?.off("data", look);
      clearTimeout(timer);
      resolve();
    };
    child.stdout?.on("data", look);
    child.once("error", (error) => {
      fail(`did not start (${error.message})`);
    });
    // "close", not "exit": only then has all output arrived.
    child.once("close", (code, signal) => {
      fail(`ended with ${signal ?? `exit code ${code}`}`);
    });
  });
}

function handleOf(child: ChildProcess, output: () => string): ServerProcess {
  const pid = child.pid;
  if (pid === undefined) throw new Error("A running process has a pid.");
  return {
    pid,
    output,
    get running() {
      return isRunning(child);
    },
    kill: () => signalled(child, "SIGKILL"),
    stop: async () => {
      child.kill("SIGSTOP");
      await untilStopped(child, pid);
    },
    resume: () => {
      child.kill("SIGCONT");
    },
  };
}

/** Node reaps its children itself, so a pid that it has not reaped is still ours to signal. */
function isRunning(child: ChildProcess): boolean {
  return child.pid !== undefined && child.exitCode === null && child.signalCode === null;
}

async function signalled(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (!isRunning(child)) return;
  const exited = once(child, "exit");
  child.kill(signal);
  await exited;
}

/** SIGSTOP is asynchronous: without this, a "stopped" server might still answer one more command. */
async function untilStopped(child: ChildProcess, pid: number): Promise<void> {
  if (process.platform !== "linux") return;
  // The state follows the command name, which stands in parentheses and may itself contain some.
  while (isRunning(child) && !/\) [Tt] [^)]*$/.test(readFileSync(`/proc/${pid}/stat`, "utf8"))) {
    await nextTurn();
  }
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
