/** An execution environment of Lambda: its Runtime API, and the process that asks it for invocations. */
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { json } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { launch, type ServerProcess } from "../../infra/services/process.js";
import { deferred } from "../support/deferred.js";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const BUNDLE = `${ROOT}dist/lambda/handler.mjs`;
const BOOTSTRAP = fileURLToPath(new URL("bootstrap.mjs", import.meta.url));

/** The region's, unless the function has a shorter one. */
const TIMEOUT_MS = 29_000;

/** What the invoker is told. */
export interface Invoked {
  readonly kind: "response" | "error" | "timed-out";
  readonly value?: unknown;
  /** When the invocation had to be over: epoch milliseconds. */
  readonly deadline: number;
}

export class Environment {
  readonly #api: Server;
  #process: ServerProcess | undefined;
  /** The runtime's request for an invocation, which waits until there is one. */
  #asked = deferred<ServerResponse>();
  #answered = deferred<Pick<Invoked, "kind" | "value">>();

  private constructor() {
    this.#api = createServer((req, res) => void this.#hear(req, res));
  }

  /** A cold start: resolves when the handler's module has been loaded. */
  static async start(handler: string, env: Readonly<Record<string, string>>): Promise<Environment> {
    if (!existsSync(BUNDLE))
      throw new Error(`${BUNDLE} is missing: run npm run build:lambda first.`);
    const environment = new Environment();
    await environment.#start(handler, env);
    return environment;
  }

  async #start(handler: string, env: Readonly<Record<string, string>>): Promise<void> {
    this.#api.listen(0, "127.0.0.1");
    await once(this.#api, "listening");
    this.#process = await launch({
      command: process.execPath,
      args: ["--no-warnings", BOOTSTRAP],
      readyWhen: /^initialised$/m,
      env: {
        AWS_LAMBDA_RUNTIME_API: `127.0.0.1:${(this.#api.address() as AddressInfo).port}`,
        AWS_LAMBDA_FUNCTION_NAME: "payments",
        LAMBDA_TASK_ROOT: ROOT,
        _HANDLER: handler,
        NODE_ENV: "production",
        ...env,
      },
    });
  }

  /** What the handler printed. */
  get log(): string {
    return this.#process?.output() ?? "";
  }

  /** Thaws the process where it was frozen; at its deadline it is killed, and there is nothing more to invoke. */
  async invoke(event: unknown, timeoutMs = TIMEOUT_MS): Promise<Invoked> {
    const next = await this.#asked.promise;
    this.#asked = deferred();
    this.#answered = deferred();
    this.#process?.resume();
    const deadline = Date.now() + timeoutMs;
    next.writeHead(200, {
      "Lambda-Runtime-Aws-Request-Id": randomUUID(),
      "Lambda-Runtime-Deadline-Ms": deadline,
    });
    next.end(JSON.stringify(event));
    const timer = setTimeout(() => void this.#timeOut(), timeoutMs);
    const answer = await this.#answered.promise;
    clearTimeout(timer);
    return { ...answer, deadline };
  }

  /** As Lambda does when the invocation has been answered and the next has not come. */
  async freeze(): Promise<void> {
    await this.#asked.promise;
    await this.#process?.stop();
  }

  async close(): Promise<void> {
    this.#process?.resume();
    await this.#process?.kill();
    this.#api.close();
  }

  async #timeOut(): Promise<void> {
    await this.#process?.kill();
    this.#answered.resolve({ kind: "timed-out" });
  }

  async #hear(req: IncomingMessage, res: ServerResponse): Promise<void> {
    if (req.url?.endsWith("/invocation/next")) return this.#asked.resolve(res);
    const kind = req.url?.endsWith("/response") ? "response" : "error";
    const value: unknown = await json(req);
    res.writeHead(202).end();
    this.#answered.resolve({ kind, value });
  }
}
