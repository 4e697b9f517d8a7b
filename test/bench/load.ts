/** Load on a subject: so many connections, each with one request after the other. */
import { execFile } from "node:child_process";
import { createRequire } from "node:module";
import { promisify } from "node:util";
import { wrk } from "../../infra/services/install.js";
import { benchFile } from "./paths.js";

export interface Target {
  readonly port: number;
  /** `/200`, `/10000`, `/200000`: how long the answers are. */
  readonly path: string;
  /** Fresh: a key for each request, which begins with `key`; replay: this key for all. */
  readonly kind: "fresh" | "replay";
  readonly key: string;
  readonly connections: number;
  readonly seconds: number;
}

export interface LoadResult {
  readonly requests: number;
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** Answers other than 2xx, time-outs and broken connections. */
  readonly errors: number;
}

export interface Load {
  readonly name: string;
  readonly run: (target: Target) => Promise<LoadResult>;
}

export const ORDER = '{"amount":1999,"currency":"EUR"}  ';

export function headersFor(key: string): Record<string, string> {
  return { "Content-Type": "application/json", "Idempotency-Key": key };
}

/** `wrk`, which leaves most of its core to the stores' servers; autocannon where there is none. */
export async function findLoad(): Promise<Load> {
  try {
    const command = await wrk();
    return { name: "wrk", run: (target) => wrkLoad(command, target) };
  } catch (error) {
    console.log(`${error instanceof Error ? error.message : String(error)} Using autocannon.`);
    return { name: "autocannon", run: autocannonLoad };
  }
}

async function wrkLoad(command: string, target: Target): Promise<LoadResult> {
  const { port, path, connections, kind, key } = target;
  // It takes whole seconds only.
  const seconds = Math.max(1, Math.round(target.seconds));
  const { stdout } = await promisify(execFile)(command, [
    "--threads=1",
    `--connections=${connections}`,
    `--duration=${seconds}s`,
    "--timeout=10s",
    `--script=${benchFile("load.lua")}`,
    `http://127.0.0.1:${port}${path}`,
    "--",
    kind,
    key,
  ]);
  const [, json = ""] = /^RESULT (.*)$/m.exec(stdout) ?? [];
  if (json === "") throw new Error(`wrk said:\n${stdout}`);
  const { requests, durationUs, p50Us, p99Us, errors } = JSON.parse(json) as Record<
    "requests" | "durationUs" | "p50Us" | "p99Us" | "errors",
    number
  >;
  const perSecond = requests / (durationUs / 1e6);
  return { requests, perSecond, p50Ms: p50Us / 1e3, p99Ms: p99Us / 1e3, errors };
}

interface AutocannonResult {
  readonly requests: { readonly total: number; readonly average: number };
  readonly latency: { readonly p50: number; readonly p99: number };
  readonly errors: number;
  readonly non2xx: number;
}

async function autocannonLoad(target: Target): Promise<LoadResult> {
  const { port, path, connections, seconds, kind, key } = target;
  const require = createRequire(benchFile("package.json"));
  const autocannon = require("autocannon") as (options: object) => Promise<AutocannonResult>;
  let count = 0;
  const { requests, latency, errors, non2xx } = await autocannon({
    url: `http://127.0.0.1:${port}${path}`,
    method: "POST",
    connections,
    duration: Math.max(1, Math.round(seconds)),
    headers: headersFor(key),
    body: ORDER,
    ...(kind === "fresh" && {
      requests: [
        {
          setupRequest: (request: { headers: object }) => ({
            ...request,
            headers: { ...request.headers, ...headersFor(`${key}${(count += 1)}`) },
          }),
        },
      ],
    }),
  });
  return {
    requests: requests.total,
    perSecond: requests.average,
    p50Ms: latency.p50,
    p99Ms: latency.p99,
    errors: errors + non2xx,
  };
}
