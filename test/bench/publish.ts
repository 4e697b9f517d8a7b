/** Writes what a run found into the documentation. */
import { execFile } from "node:child_process";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { chart } from "./chart.js";
import { ROOT } from "./paths.js";
import { report } from "./report.js";
import type { Results } from "./results.js";

/** What stands above is written by hand. */
const MARK = "<!-- All below is written by `npm run bench`. -->";

export async function publish(results: Results): Promise<void> {
  const file = (name: string): string => join(ROOT, "docs", name);
  const page = await readFile(file("performance.md"), "utf8");
  const [byHand, ...rest] = page.split(MARK);
  if (rest.length !== 1) throw new Error(`docs/performance.md must hold once: ${MARK}`);
  await writeFile(file("performance.md"), `${byHand}${MARK}\n\n${report(results)}\n`);
  await writeFile(file("performance.svg"), chart(results));
  await writeFile(file("performance.json"), `${JSON.stringify(results, rounded, 2)}\n`);
  const formatted = ["docs/performance.md", "docs/performance.json"];
  await promisify(execFile)(join(ROOT, "node_modules/.bin/oxfmt"), formatted, { cwd: ROOT });
  console.log("Written: docs/performance.md, .svg, .json");
}

/** More digits than these were not measured. */
function rounded(_: string, value: unknown): unknown {
  return typeof value === "number" ? Number(value.toPrecision(5)) : value;
}
