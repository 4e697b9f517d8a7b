/** What became of each mutant, kept in the project: a run that was broken off, or that follows a change, goes on from there. */
import { createHash } from "node:crypto";
import { appendFile, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { nameOf, type Mutant } from "./mutant.js";
import { stagesOf } from "./plan.js";

export interface Result {
  readonly name: string;
  readonly outcome: "killed" | "hung" | "survived";
  /** The test that failed. */
  readonly by?: string;
  /** Whose contents decided it, and their hashes: its own file, and where it survived, all of its tests. */
  readonly files: Readonly<Record<string, string>>;
}

export class Results {
  readonly #path: string;
  readonly #known = new Map<string, Result>();

  private constructor(path: string) {
    this.#path = path;
  }

  static async open(path: string): Promise<Results> {
    const results = new Results(path);
    const lines = await readFile(path, "utf8").catch(() => "");
    for (const line of lines.split("\n").filter(Boolean)) results.#note(JSON.parse(line) as Result);
    return results;
  }

  /** Nothing where a file that decided it has changed since, or where more tests are to look for a survivor. */
  async of(mutant: Mutant): Promise<Result | undefined> {
    const known = this.#known.get(nameOf(mutant));
    if (known === undefined) return undefined;
    const tests = known.outcome === "survived" ? stagesOf(mutant.file).flat() : [];
    const now = await hashesOf([mutant.file, ...tests]);
    return JSON.stringify(now) === JSON.stringify(known.files) ? known : undefined;
  }

  /** @param root Of the copy in which it was tried, the mistake taken back: the project itself may have changed since. */
  async add(
    mutant: Mutant,
    found: Omit<Result, "name" | "files">,
    tests: readonly string[],
    root: string,
  ): Promise<Result> {
    const files = await hashesOf([mutant.file, ...tests], root);
    const result = { name: nameOf(mutant), ...found, files };
    this.#note(result);
    await appendFile(this.#path, `${JSON.stringify(result)}\n`);
    return result;
  }

  /** Writes them anew, in their order, without what is no mutant any more. */
  async tidy(names: ReadonlySet<string>): Promise<void> {
    const lines = [...this.#known.values()]
      .filter(({ name }) => names.has(name))
      .toSorted((a, b) => (a.name < b.name ? -1 : 1))
      .map((result) => `${JSON.stringify(result)}\n`);
    await writeFile(this.#path, lines.join(""));
  }

  #note(result: Result): void {
    this.#known.set(result.name, result);
  }
}

async function hashesOf(files: readonly string[], root = "."): Promise<Record<string, string>> {
  const hashes = files.map(async (file) => {
    const text = await readFile(join(root, file), "utf8").catch(() => "");
    return [file, createHash("sha256").update(text).digest("hex").slice(0, 12)] as const;
  });
  return Object.fromEntries(await Promise.all(hashes));
}
