/** The payments demo in processes of its own, and its clients. */
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";

const SERVER = fileURLToPath(new URL("../../dist/infra/server.js", import.meta.url));

const children = new Set<ChildProcess>();

export interface Demo {
  readonly child: ChildProcess;
  readonly origin: string;
  readonly printed: string;
}

/** Starts the server and waits for the last line that it prints. */
export async function start(env: Record<string, string> = {}): Promise<Demo> {
  const child = spawnServer(env);
  // Nobody reads what it warns of, and a full pipe would stop it.
  child.stderr.resume();
  let printed = "";
  for await (const chunk of child.stdout) {
    printed += chunk;
    const origin = /^Payments demo: (\S+)$/m.exec(printed)?.[1];
    if (origin !== undefined && printed.endsWith(`curl -i ${origin}/payments\n\n`)) {
      return { child, origin, printed };
    }
  }
  throw new Error(`The server did not start. It printed: ${printed}`);
}

export async function failedStart(env: Record<string, string>) {
  const child = spawnServer(env);
  const closed = once(child, "close");
  const stderr = await text(child.stderr);
  await closed;
  return { code: child.exitCode, stderr };
}

/** Without the environment of whoever runs the tests: its PORT is not meant for these servers. */
function spawnServer(env: Record<string, string>) {
  if (!existsSync(SERVER)) throw new Error(`${SERVER} is missing: run \`npm run build\` first.`);
  const child = spawn(process.execPath, [SERVER], {
    env: { PORT: "0", ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  children.add(child);
  return child;
}

/** Signals a server; resolves to its exit code. */
export async function stopped(child: ChildProcess, signal: NodeJS.Signals): Promise<number | null> {
  if (child.exitCode !== null || child.signalCode !== null) return child.exitCode;
  const exit = once(child, "exit");
  child.kill(signal);
  await exit;
  return child.exitCode;
}

/** Leaves no server behind, whatever its test did. */
export async function killAll(): Promise<void> {
  await Promise.all([...children].map((child) => stopped(child, "SIGKILL")));
  children.clear();
}

interface Sent {
  readonly key?: string;
  readonly body?: string | undefined;
  readonly delayMs?: number | string | undefined;
}

export function pay(origin: string, { key, body, delayMs }: Sent): Promise<Response> {
  const headers = new Headers({ "Content-Type": "application/json" });
  if (key !== undefined) headers.set("Idempotency-Key", key);
  return fetch(`${origin}/payments${delayMs === undefined ? "" : `?delayMs=${delayMs}`}`, {
    method: "POST",
    headers,
    body: body ?? '{"amount":1999,"currency":"EUR"}',
  });
}

/**
 * Starts a slow payment and waits until it runs: of two sent at once, one is told that the other is at work.
 * Answers are undefined where the server dies first.
 */
export async function startPayment(origin: string, delayMs: number, key = "slow") {
  const send = () => pay(origin, { key, delayMs }).catch(() => undefined);
  const [one, other] = [send(), send()];
  return await Promise.race([
    one.then((conflict) => ({ conflict, payment: other })),
    other.then((conflict) => ({ conflict, payment: one })),
  ]);
}

export async function chargesOf(origin: string): Promise<number> {
  const answer = await fetch(`${origin}/payments`);
  return ((await answer.json()) as { count: number }).count;
}
