/** Processes of `server.mjs`, and their clients. */
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { onTestFinished } from "vitest";
import { launch, type ServerProcess } from "../../infra/services/process.js";
import { send, type Answer } from "../support/http.js";

const SERVER = fileURLToPath(new URL("server.mjs", import.meta.url));
const BUILT = fileURLToPath(new URL("../../dist/stores/redlock.js", import.meta.url));

interface Event {
  readonly at: number;
  readonly type: string;
  readonly key: string;
  readonly about: string;
}

export interface Report {
  readonly executions: Readonly<Record<string, number>>;
  readonly events: readonly Event[];
}

export interface PaymentServer {
  readonly process: ServerProcess;
  readonly port: number;
  pay(key: string): Promise<Answer>;
  /** Executes until `finish`. */
  payAndWait(key: string): Promise<Answer>;
  /** Ends the executions that wait. */
  finish(): Promise<void>;
  report(): Promise<Report>;
}

export async function startServer(env: Record<string, string>): Promise<PaymentServer> {
  if (!existsSync(BUILT)) throw new Error(`${BUILT} is missing: run \`npm run build\` first.`);
  const readyWhen = /^Listening on (\d+)\.$/m;
  const server = await launch({ command: process.execPath, args: [SERVER], readyWhen, env });
  onTestFinished(async () => {
    // A stopped process is ended as well, but only when it goes on.
    server.resume();
    await server.kill();
  });
  const port = Number(readyWhen.exec(server.output())?.[1]);
  return {
    process: server,
    port,
    pay: (key) => send(port, { path: "/payments", key, body: "{}" }),
    payAndWait: (key) =>
      send(port, { path: "/payments", key, body: "{}", headers: { "X-Wait": "yes" } }),
    finish: async () => {
      await send(port, { path: "/finish" });
    },
    report: async () => JSON.parse((await send(port, { method: "GET", path: "/report" })).text),
  };
}
