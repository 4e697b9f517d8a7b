/** A copy of the project, in which one file at a time is wrong. */
import { execFile } from "node:child_process";
import { cp, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);

export class Tree {
  readonly root: string;

  private constructor(root: string) {
    this.root = root;
  }

  /** Of the project in the current directory, without what Git ignores. It shares the packages. */
  static async copy(): Promise<Tree> {
    const { stdout } = await run("git", ["ls-files", "-z", "-co", "--exclude-standard"]);
    const tree = new Tree(await mkdtemp(join(tmpdir(), "mutation-")));
    for (const file of stdout.split("\0").filter(Boolean)) {
      // A file that is deleted, but not for Git yet, is not there.
      await cp(file, tree.#at(file)).catch(ignoreMissing);
    }
    await symlink(resolve("node_modules"), tree.#at("node_modules"));
    return tree;
  }

  async write(file: string, text: string): Promise<void> {
    await writeFile(this.#at(file), text);
  }

  async remove(): Promise<void> {
    await rm(this.root, { recursive: true });
  }

  #at(file: string): string {
    return join(this.root, file);
  }
}

function ignoreMissing(error: NodeJS.ErrnoException): void {
  if (error.code !== "ENOENT") throw error;
}
