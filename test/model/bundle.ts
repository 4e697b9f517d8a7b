/** The simulation as one file that plain Node runs: the kit's sources as they are, or with one of them changed. */
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { build, type Plugin } from "esbuild";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));

/** A deliberate mistake: what stands in a file, once, and what shall stand there instead. */
export interface Mutation {
  readonly file: string;
  readonly from: string;
  readonly to: string;
}

/** @returns the file's path. It lies in the project, where Node finds the packages that it imports. */
export async function bundle(entry: string, name: string, mutation?: Mutation): Promise<string> {
  const outfile = `${ROOT}dist/model/${name}.js`;
  await build({
    entryPoints: [`${ROOT}test/model/${entry}`],
    outfile,
    bundle: true,
    platform: "node",
    format: "esm",
    target: "node20",
    packages: "external",
    logLevel: "error",
    plugins: mutation === undefined ? [] : [mutating(mutation)],
  });
  return outfile;
}

function mutating({ file, from, to }: Mutation): Plugin {
  return {
    name: "mutation",
    setup: (building) => {
      building.onLoad({ filter: /\.ts$/ }, async ({ path }) => {
        if (path !== ROOT + file) return undefined;
        const source = await readFile(path, "utf8");
        if (source.split(from).length !== 2) {
          throw new Error(`${file} does not hold this once: ${from}`);
        }
        return { contents: source.replace(from, () => to), loader: "ts" };
      });
    },
  };
}
