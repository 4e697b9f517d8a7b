/** The machine: which cores there are, and who gets which. */
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { cpus, loadavg, totalmem } from "node:os";
import { findOnPath } from "../../infra/services/process.js";

const TASKSET = findOnPath("taskset");

/** Those that this process may use; in a container seldom all. */
const CORES = allowedCores();

/** Subjects have the first core for themselves; where there is only one, or no `taskset`, everybody shares. */
export const PINNED = TASKSET !== undefined && CORES.length > 1;

/** Moves the benchmark, and with it all that it starts but subjects, to the other cores. */
export function leaveFirstCore(): void {
  if (!PINNED) return;
  const others = CORES.slice(1).join(",");
  execFileSync("taskset", ["-a", "-c", "-p", others, `${process.pid}`], { stdio: "ignore" });
}

function allowedCores(): readonly number[] {
  const status = existsSync("/proc/self/status") ? readFileSync("/proc/self/status", "utf8") : "";
  const [, list = ""] = /^Cpus_allowed_list:\s*(\S+)$/m.exec(status) ?? [];
  if (list === "") return cpus().map((_, core) => core);
  return list.split(",").flatMap((range) => {
    const [first = 0, last = first] = range.split("-").map(Number);
    return Array.from({ length: last - first + 1 }, (_, at) => first + at);
  });
}

/** The command line of a program that has the first core. */
export function onFirstCore(command: string, args: readonly string[]): [string, string[]] {
  return PINNED ? ["taskset", ["-c", `${CORES[0]}`, command, ...args]] : [command, [...args]];
}

export interface Conditions {
  readonly date: string;
  readonly node: string;
  readonly cpu: string;
  readonly cores: number;
  readonly pinned: boolean;
  readonly memoryGiB: number;
  /** Of the last minute when the run began: above zero, others were at work. */
  readonly loadBefore: number;
}

export function conditions(): Conditions {
  return {
    date: new Date().toISOString(),
    node: process.version,
    cpu: cpus()[0]?.model ?? "unknown",
    cores: CORES.length,
    pinned: PINNED,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    loadBefore: Math.round((loadavg()[0] ?? 0) * 100) / 100,
  };
}
