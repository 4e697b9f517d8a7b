/** The project as the layout's rules see it: source texts, what they import, and the package. */
import { readdirSync, readFileSync } from "node:fs";
import { join, posix } from "node:path";

export interface Project {
  /** Texts by path, such as `src/http.ts`. */
  readonly files: ReadonlyMap<string, string>;
  readonly manifest: Manifest;
}

export interface Manifest {
  readonly exports?: Readonly<Record<string, string | Readonly<Record<string, string>>>>;
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly peerDependencies?: Readonly<Record<string, string>>;
  readonly peerDependenciesMeta?: Readonly<Record<string, { readonly optional?: boolean }>>;
}

export interface Import {
  readonly from: string;
  readonly specifier: string;
  /** Path of the imported source where the specifier is relative, else the specifier. */
  readonly target: string;
  /** Whether nothing of it is left at run time. */
  readonly typeOnly: boolean;
}

const FOLDERS = ["src", "stores", "infra"];

export function readProject(root: string): Project {
  const paths = FOLDERS.flatMap((folder) => sourcesIn(root, folder));
  return {
    files: new Map(paths.map((path) => [path, readFileSync(join(root, path), "utf8")])),
    manifest: JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as Manifest,
  };
}

function sourcesIn(root: string, folder: string): string[] {
  return readdirSync(join(root, folder), { withFileTypes: true }).flatMap((entry) => {
    const path = posix.join(folder, entry.name);
    if (entry.isDirectory()) return entry.name === "node_modules" ? [] : sourcesIn(root, path);
    return path.endsWith(".ts") ? [path] : [];
  });
}

/** Statements, as the formatter leaves them: at the beginning of a line. `{ type A }` alone still imports at run time. */
const STATEMENT = /^(?:import|export)\s+(type\s)?(?:[\w$*\s{},]+?\sfrom\s+)?["']([^"']+)["']/gm;
/** Anywhere but in a comment's line. */
const EXPRESSION = /^(?!\s*(?:\*|\/\/|\/\*)).*?\bimport\(\s*["']([^"']+)["']/gm;

export function importsOf(from: string, text: string): Import[] {
  const found = (specifier: string, typeOnly: boolean): Import => {
    const target = specifier.startsWith(".")
      ? posix.join(posix.dirname(from), specifier).replace(/\.js$/, ".ts")
      : specifier;
    return { from, specifier, target, typeOnly };
  };
  return [
    ...[...text.matchAll(STATEMENT)].map(([, type, name = ""]) => found(name, type !== undefined)),
    ...[...text.matchAll(EXPRESSION)].map(([, name = ""]) => found(name, false)),
  ];
}

export function allImports({ files }: Project): Import[] {
  return [...files].flatMap(([path, text]) => importsOf(path, text));
}

/** Chains of imports, each from `start` to something that `isGoal` accepts. */
export function chains(
  imports: readonly Import[],
  start: string,
  isGoal: (target: string) => boolean,
): string[] {
  const seen = new Set<string>();
  const found: string[] = [];
  const visit = (path: string, chain: readonly string[]): void => {
    for (const { target } of imports.filter(({ from }) => from === path)) {
      if (isGoal(target)) found.push([...chain, target].join(" -> "));
      else if (!seen.has(target)) {
        seen.add(target);
        visit(target, [...chain, target]);
      }
    }
  };
  visit(start, [start]);
  return found;
}
