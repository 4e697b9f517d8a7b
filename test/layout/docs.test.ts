/** The pages under docs/: their code type-checks against the built package, and their links lead somewhere. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { compile, consumer } from "./consumer.js";
import { paths, typescriptBlocks } from "./readme.js";

/** The compiler takes seconds, and several times as many on a busy machine. */
const COMPILING_MS = 60_000;

const folder = new URL("../../docs/", import.meta.url);
const pages = readdirSync(folder)
  .filter((name) => name.endsWith(".md"))
  .map((name) => ({ name, text: readFileSync(new URL(name, folder), "utf8") }));

it(
  "the code on all pages type-checks",
  async () => {
    const sources = pages.flatMap(({ name, text }) =>
      typescriptBlocks(text).map(({ line, code }) => [`${name}-${line}.ts`, code] as const),
    );
    await using project = await consumer(Object.fromEntries(sources));

    expect(sources.length).toBeGreaterThan(0);
    expect(await compile(project)).toBe("");
  },
  COMPILING_MS,
);

it.each(pages)("$name leads to files that exist", ({ text }) => {
  const links = paths(text).map((path) =>
    /^(src|stores|infra|test|docs)\//.test(path) ? `../${path}` : path,
  );
  const files = links.map((link) => link.replace(/#.*/, "")).filter((link) => link !== "");
  expect(files.filter((file) => !existsSync(new URL(file, folder)))).toEqual([]);
});
