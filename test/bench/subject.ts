/** A subject's process, and the line to it. */
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { onFirstCore } from "./machine.js";
import { benchFile, ROOT } from "./paths.js";
import type { Addresses } from "./services.js";
import type { SubjectSpec } from "./subjects.js";

export interface Usage {
  /** User and system time since its start, in microseconds. */
  readonly cpuUs: number;
  /** How often the handler ran. */
  readonly executions: number;
}

export interface Memory {
  /** After a full collection: heap and what lies outside of it. */
  readonly usedBytes: number;
  readonly rssBytes: number;
}

const START_TIMEOUT_MS = 30_000;

export class Subject implements AsyncDisposable {
  readonly port: number;
  readonly #child: ChildProcess;
  readonly #line: Line;

  private constructor(child: ChildProcess, line: Line, port: number) {
    this.#child = child;
    this.#line = line;
    this.port = port;
  }

  static async start(
    { name }: SubjectSpec,
    addresses: Addresses,
    env: Readonly<Record<string, string>> = {},
  ): Promise<Subject> {
    if (!existsSync(`${ROOT}/dist/src/index.js`)) {
      throw new Error("dist/ is missing: run `npm run build` first.");
    }
    const file = benchFile("subjects", `${name}.mjs`);
    const [command, args] = onFirstCore(process.execPath, ["--expose-gc", file]);
    const child = spawn(command, args, {
      stdio: ["ignore", "ignore", "inherit", "ipc"],
      // The SDK's about the version of Node, for every process.
      env: {
        NODE_NO_WARNINGS: "1",
        ...process.env,
        ...env,
        BENCH_SERVICES: JSON.stringify(addresses),
      },
    });
    const line = new Line(child, name);
    try {
      const { port } = await line.answer<{ port: number }>(0);
      return new Subject(child, line, port);
    } catch (error) {
      child.kill("SIGKILL");
      throw error;
    }
  }

  ask<T = unknown>(command: string, args?: object): Promise<T> {
    return this.#line.ask<T>(command, args);
  }

  usage(): Promise<Usage> {
    return this.ask<Usage>("usage");
  }

  memory(): Promise<Memory> {
    return this.ask<Memory>("memory");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exit = once(this.#child, "exit");
    this.#child.kill("SIGKILL");
    await exit;
  }
}

interface Waiting {
  readonly resolve: (answer: never) => void;
  readonly reject: (error: Error) => void;
}

/** Questions and answers by number; the first answer comes unasked, when the server listens. */
class Line {
  readonly #child: ChildProcess;
  readonly #name: string;
  readonly #waiting = new Map<number, Waiting>();
  #asked = 0;

  constructor(child: ChildProcess, name: string) {
    this.#child = child;
    this.#name = name;
    child.on("message", ({ id, answer }: { id: number; answer: never }) => {
      this.#waiting.get(id)?.resolve(answer);
      this.#waiting.delete(id);
    });
    const fail = (what: string): void => {
      for (const { reject } of this.#waiting.values()) reject(new Error(`${name} ${what}.`));
      this.#waiting.clear();
    };
    child.once("exit", (code, signal) => fail(`ended (${signal ?? `exit code ${code}`})`));
    child.once("error", (error) => fail(`did not start (${error.message})`));
    setTimeout(() => {
      if (this.#waiting.has(0)) fail(`did not listen within ${START_TIMEOUT_MS} ms`);
    }, START_TIMEOUT_MS).unref();
  }

  answer<T>(id: number): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
    });
  }

  async ask<T>(command: string, args: object = {}): Promise<T> {
    if (!this.#child.connected) throw new Error(`${this.#name} has ended.`);
    const id = (this.#asked += 1);
    const answered = this.answer<T>(id);
    this.#child.send({ id, command, args });
    return await answered;
  }
}
