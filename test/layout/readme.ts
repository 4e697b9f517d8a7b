/** README.md and other pages as data: code blocks, links, paths and tables. */

export interface Block {
  /** Of its first line in the page: compiler messages about `line-42.ts` lead there. */
  readonly line: number;
  readonly runnable: boolean;
  readonly code: string;
}

export function typescriptBlocks(page: string): Block[] {
  return [...page.matchAll(/^```ts( runnable)?\n(.*?)^```$/gms)].map(
    ({ index, 1: runnable, 2: code = "" }) => ({
      line: page.slice(0, index).split("\n").length + 1,
      runnable: runnable !== undefined,
      code,
    }),
  );
}

/** Targets of links that stay in the project, and the paths in its folders that are named as code. */
export function paths(page: string): string[] {
  const named = [...page.matchAll(/`((?:src|stores|infra|test|docs)\/[\w./-]*)`/g)];
  return [...links(page), ...named.map(([, path = ""]) => path)];
}

/** Targets of links and images that stay in the project. */
export function links(page: string): string[] {
  const written = page.matchAll(/\]\((?!https?:)([^)\s]+)\)/g);
  const tagged = page.matchAll(/\b(?:src|srcset|href)="(?!https?:)([^"\s]+)"/g);
  return [...written, ...tagged].map(([, link = ""]) => link);
}

/** Where links into a page may lead: its headings, as code hosts spell them. */
export function anchors(page: string): string[] {
  return [...page.matchAll(/^#+ (.+)$/gm)].map(([, heading = ""]) => {
    const text = heading.toLowerCase().replaceAll(/[^\p{L}\p{N} _-]/gu, "");
    return `#${text.trim().replaceAll(" ", "-")}`;
  });
}

/** The cells of a table below its header, found by the header's first cell. */
export function table(page: string, heading: string): string[][] {
  const lines = page.split("\n");
  const start = lines.findIndex((line) => line.startsWith(`| ${heading} `));
  const below = start < 0 ? [] : lines.slice(start + 2);
  const end = below.findIndex((line) => !line.startsWith("|"));
  return below.slice(0, end < 0 ? undefined : end).map((line) =>
    line
      .slice(1, -1)
      .split("|")
      .map((cell) => cell.trim()),
  );
}

/** A table as the formatter leaves it; its first row is the head. */
export function tableOf(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, at) =>
    Math.max(...rows.map((row) => row[at]?.length ?? 0)),
  );
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell, at) => cell.padEnd(widths[at] ?? 0)).join(" | ")} |`;
  const [head = [], ...body] = rows;
  return [line(head), line(widths.map((width) => "-".repeat(width))), ...body.map(line)].join("\n");
}

/** What a cell says in code: `"reject"`, `10_000`, `["POST"]`. */
export function codeIn(cell = ""): unknown {
  const [, code] = /^`(.*)`$/.exec(cell) ?? [];
  if (code === undefined || !/^["[{\d]|^(true|false)$/.test(code)) return undefined;
  return JSON.parse(code.replaceAll(/(?<=\d)_(?=\d)/g, ""));
}
