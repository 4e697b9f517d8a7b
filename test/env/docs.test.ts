/** The pages on environments and on the tool, against the code. */
import { readdirSync, readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { EXIT } from "../../infra/cli/command.js";
import { OptionsError } from "../../src/errors.js";
import { readEnvironment } from "../../stores/from-env/environment.js";
import { HEEDED_BY, variableOf, VARIABLES } from "../../stores/from-env/variables.js";
import { table } from "../layout/readme.js";

const page = read("environment");

function read(name: string): string {
  return readFileSync(new URL(`../../docs/${name}.md`, import.meta.url), "utf8");
}

/** What stands in code in a cell. */
function codes(cell = ""): string[] {
  return [...cell.matchAll(/`([^`]+)`/g)].map(([, code = ""]) => code);
}

test("lists every variable once, and whom it is for", () => {
  const rows = table(page, "Variable").map(([name, heeded]) => [codes(name)[0], codes(heeded)]);
  expect(rows.map(([name]) => name)).toEqual(VARIABLES);
  const stores = Object.entries(HEEDED_BY).map(([option, kinds]) => [variableOf(option), kinds]);
  expect(rows.slice(1, 1 + stores.length)).toEqual(stores);
  for (const [name, [option = ""] = []] of rows.slice(1 + stores.length) as [string, string[]][]) {
    expect(variableOf(option)).toBe(name);
  }
});

test("every URL that it shows is one that is understood", () => {
  const urls = [
    ...table(page, "Environment").flatMap(([, cell]) => codes(cell)),
    ...[...page.matchAll(/IDEMPOTENCY_STORE=(\S+)/g)].map(([, url = ""]) => url),
    ...[...page.matchAll(/`(redlock:[^`\s]+)`/g)].map(([, url = ""]) => url),
  ].filter((url) => !url.includes("…"));
  expect(urls.length).toBeGreaterThan(7);
  for (const url of urls) {
    expect(readEnvironment({ IDEMPOTENCY_STORE: url }).target.kind).toBe(
      /^(redis|redlock|memory|dynamodb)/.exec(url)?.[0],
    );
  }
});

test("lists the parameters of a table's URL, all of them", () => {
  const [, listed = ""] = /takes the parameters ((?:`\w+`(?:, | and )?)+)/.exec(page) ?? [];
  let refusal: unknown;
  try {
    readEnvironment({ IDEMPOTENCY_STORE: "dynamodb://payments?x=1" });
  } catch (error) {
    refusal = error;
  }
  if (!(refusal instanceof OptionsError)) throw new Error("It should be refused.");
  const [, known = ""] = /only the parameters ([\w, ]+)$/.exec(refusal.message) ?? [];
  expect(known.split(", ")).toEqual(codes(listed));
});

test("no page names a variable that a store of the environment would refuse as unknown", () => {
  const folder = new URL("../../docs/", import.meta.url);
  const names = readdirSync(folder).filter((name) => name.endsWith(".md"));
  const said = names.flatMap(
    (name) => read(name.replace(".md", "")).match(/IDEMPOTENCY_\w+/g) ?? [],
  );
  const warnings = table(read("operating"), "Warning").flatMap(([cell]) => codes(cell));
  const known = new Set([...VARIABLES, ...warnings]);

  expect(said.length).toBeGreaterThan(20);
  expect(said.filter((name) => !known.has(name))).toEqual([]);
});

test("lists the tool's exit codes", () => {
  const listed = table(read("operating"), "Exit code").map(([code]) => Number(codes(code)[0]));
  expect(listed).toEqual(Object.values(EXIT));
});
