/** The runner of mutants itself: what it makes of a source, and that it knows a failing test from a passing one. */
import { mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { conditionMutants } from "./conditions.js";
import { EXPLAINED, explanations } from "./explained.js";
import { nameOf } from "./mutant.js";
import { FILES, mutantsOf, stagesOf } from "./plan.js";
import { runTests } from "./tests.js";

function changesOf(source: string): string[] {
  return conditionMutants("a.ts", source).map(({ after }) => after);
}

test.each([
  ["if (isOpen()) close();", ["if (true) close();", "if (false) close();"]],
  ["x = a ? b : c;", ["x = true ? b : c;", "x = false ? b : c;"]],
  ["while (a) b();", ["while (false) b();"]],
  ["if (a && !b) c();", ["if (false) c();", "if (a) c();", "if (!b) c();"]],
  ["x = a || b;", ["x = true;", "x = a;", "x = b;"]],
  ["if (a < b) c();", ["if (true) c();", "if (false) c();", "if (a <= b) c();"]],
  ["x = a === b;", ["x = true;", "x = false;"]],
  ["if (list.length > 0) c();", ["if (true) c();", "if (false) c();"]],
  ["f({ a: true });", ["f({ a: false });"]],
  ["x = list.some(f);", ["x = list.every(f);"]],
  ["x = list.filter(f).length;", ["x = list.length;"]],
  ["type A = true; const x = y as false;", []],
])("%s has these mutants: %j", (source, expected) => {
  expect(changesOf(source)).toEqual(expected);
});

test("mutants of lines that are alike are told apart", () => {
  expect(changesOf("if (a) b();\nif (a) b();")).toEqual([
    "if (true) b();",
    "if (false) b();",
    "if (true) b(); (2)",
    "if (false) b(); (2)",
  ]);
});

test("every file has mutants of different names, and tests that exist", async () => {
  for (const file of FILES) {
    const names = mutantsOf(file, await readFile(file, "utf8")).map(nameOf);
    expect([...new Set(names)]).toEqual(names);
    for (const path of stagesOf(file).flat()) await readFile(path);
  }
});

test("what is explained are mutants", async () => {
  const sources = await Promise.all(
    FILES.map(async (file) => mutantsOf(file, await readFile(file, "utf8"))),
  );
  const names = new Set(sources.flat().map(nameOf));

  expect([...explanations().keys()].filter((name) => !names.has(name))).toEqual([]);
  expect(explanations().size).toBe(EXPLAINED.flatMap(({ mutants }) => mutants).length);
});

test("a failing test is told from passing ones, by its name", async () => {
  const root = await mkdtemp(join(tmpdir(), "mutation-"));
  onTestFinished(() => rm(root, { recursive: true }));
  await symlink(resolve("node_modules"), join(root, "node_modules"));
  const source = `import { expect, test } from "vitest";
    test("right", () => {});
    test("wrong (a.b) [c]?", () => expect(1).toBe(2));`;
  await writeFile(join(root, "a.test.ts"), source);

  const verdict = { passed: false, by: "wrong (a.b) [c]?", files: ["a.test.ts"], isTest: true };
  expect(await runTests(root, ["a.test.ts"], 60_000)).toEqual(verdict);
  expect(await runTests(root, ["a.test.ts"], 60_000, "right")).toEqual({ passed: true });
  expect(await runTests(root, ["a.test.ts"], 60_000, verdict.by)).toEqual(verdict);
});
