import { join } from "node:path";

/** Scripts of a package run in its folder, and so do its tests. */
export const ROOT = process.cwd();

/** What is run as it stands, not compiled. */
export function benchFile(...path: readonly string[]): string {
  return join(ROOT, "test/bench", ...path);
}
