/** The process under test, from outside. */
import { fork, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import type { Sample } from "./sample.js";
import { asEnvironment, type Question, type Reply, type ServerSettings } from "./settings.js";

export interface Service extends AsyncDisposable {
  readonly port: number;
  sample(): Promise<Sample>;
  /** Resolves when the process has drained both of its middlewares. */
  drain(): Promise<void>;
}

export async function startService(file: string, settings: ServerSettings): Promise<Service> {
  const child = fork(file, {
    execArgv: ["--expose-gc"],
    env: { ...process.env, ...asEnvironment(settings) },
    stdio: ["ignore", "ignore", "inherit", "ipc"],
  });
  const port = valueOf(await replyOf(child), "listening");
  return {
    port,
    sample: async () => valueOf(await ask(child, "sample"), "sample"),
    drain: async () => {
      valueOf(await ask(child, "drain"), "drained");
    },
    async [Symbol.asyncDispose]() {
      if (child.exitCode !== null) return;
      const gone = once(child, "exit");
      child.kill("SIGKILL");
      await gone;
    },
  };
}

/** One question at a time: the next reply is its answer. */
async function ask(child: ChildProcess, question: Question): Promise<Reply> {
  const reply = replyOf(child);
  child.send(question);
  return await reply;
}

function replyOf(child: ChildProcess): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const take = (reply: unknown): void => {
      child.off("exit", fail);
      resolve(reply as Reply);
    };
    const fail = (code: number | null, signal: string | null): void => {
      child.off("message", take);
      reject(new Error(`The process under test ended with ${code ?? signal}.`));
    };
    child.once("message", take).once("exit", fail);
  });
}

type Everything = { listening: number; sample: Sample; drained: true };

function valueOf<K extends keyof Everything>(reply: Reply, name: K): Everything[K] {
  const value = (reply as Partial<Everything>)[name];
  if (value === undefined) throw new Error(`Bug! It answered ${JSON.stringify(reply)}.`);
  return value;
}
