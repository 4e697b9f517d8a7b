/** Runs a bundled simulation in a process of its own, where its clocks and timers are in nobody's way. */
import { execFile } from "node:child_process";
import type { Totals } from "./totals.js";

/** What it ends with is a verdict, and read from its output. */
export function simulate(program: string, ...args: readonly string[]): Promise<Totals> {
  return new Promise((resolve, reject) => {
    execFile(process.execPath, [program, "--json", ...args], (error, stdout, stderr) => {
      try {
        resolve(JSON.parse(stdout) as Totals);
      } catch {
        reject(new Error(`The simulation failed: ${stderr}`, { cause: error }));
      }
    });
  });
}
