import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { importsOf, readProject } from "./project.js";
import { RULES } from "./rules.js";

const project = readProject(fileURLToPath(new URL("../..", import.meta.url)));

describe("layout", () => {
  it.each(Object.entries(RULES))("%s", (_, { check }) => {
    expect(check(project)).toEqual([]);
  });
});

describe("the check of each rule sees it broken:", () => {
  it.each(Object.entries(RULES))("%s", (_, { check, broken, reports }) => {
    expect(check(broken)).toEqual(reports);
  });
});

describe("imports are found", () => {
  it.each([
    ["a value", 'import { a } from "./b.js";', "src/b.ts", false],
    ["a type", 'import type { A } from "./b.js";', "src/b.ts", true],
    ["several lines", 'import {\n  type A,\n  b,\n} from "../b.js";', "b.ts", false],
    ["a namespace", 'import * as b from "node:fs";', "node:fs", false],
    ["a default", 'import b, { c } from "b";', "b", false],
    ["an effect", 'import "./b.js";', "src/b.ts", false],
    ["an export", 'export * from "./b.js";', "src/b.ts", false],
    ["an exported type", 'export type { A } from "./b.js";', "src/b.ts", true],
    ["an expression", '  const b = await import("./b.js");', "src/b.ts", false],
  ])("%s", (_, text, target, typeOnly) => {
    expect(importsOf("src/a.ts", text)).toMatchObject([{ target, typeOnly }]);
  });

  it("but not in comments, and not in other statements", () => {
    const text = [
      ' * import { a } from "idempotency-kit";',
      '// const a = import("a");',
      'export const from = "a";',
      'export type A = "a";',
    ].join("\n");
    expect(importsOf("src/a.ts", text)).toEqual([]);
  });

  it("all over the project", () => {
    const paths = [...project.files.keys()];
    expect(paths).toEqual(expect.arrayContaining(["src/http.ts", "stores/memory.ts"]));
    const door = importsOf("src/http/door.ts", project.files.get("src/http/door.ts") ?? "");
    expect(door.map(({ target }) => target)).toContain("src/idempotency.ts");
  });
});
