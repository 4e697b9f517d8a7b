/** The kits to compare with, which nobody else needs: installed here and now, from a lock file of their own. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, statSync } from "node:fs";
import { benchFile } from "./paths.js";

export async function installPeers(): Promise<void> {
  // What npm writes last.
  const installed = benchFile("node_modules", ".package-lock.json");
  const lock = benchFile("package-lock.json");
  if (existsSync(installed) && statSync(installed).mtimeMs >= statSync(lock).mtimeMs) return;
  console.log("Installing the kits to compare with (npm ci in test/bench).");
  const npm = spawn("npm", ["ci", "--no-audit", "--no-fund"], {
    cwd: benchFile(),
    stdio: "inherit",
  });
  const [code] = (await once(npm, "exit")) as [number | null];
  if (code !== 0) throw new Error(`npm ci in test/bench ended with ${code}.`);
}
