/** The pages under docs/: their links lead somewhere, their code compiles, and none of the kit's errors is left out. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { IdempotencyError } from "../../src/errors.js";
import {
  EVENT_CHANNEL,
  HANDLER_CHANNEL,
  REQUEST_CHANNEL,
  STORE_CHANNEL,
} from "../../src/events.js";
import { parseHttpOptions } from "../../src/http/options.js";
import { ERROR_CODES, problemFor } from "../../src/problem.js";
import { FLAWED_STORES } from "../faults/campaign/flawed-stores.js";
import { FAULT_KINDS } from "../faults/campaign/plan.js";
import { MUTANTS } from "../model/mutants.js";
import { compile, consumer } from "./consumer.js";
import { anchors, links, table, typescriptBlocks } from "./readme.js";

const docs = new URL("../../docs/", import.meta.url);
const pages = [
  ...["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"].map(
    (name) => new URL(`../../${name}`, import.meta.url),
  ),
  ...readdirSync(docs)
    .filter((name) => name.endsWith(".md"))
    .map((name) => new URL(name, docs)),
];

function read(page: URL): string {
  return readFileSync(page, "utf8");
}

test.each(pages.map((page) => ({ name: page.pathname.split("/").at(-1), page })))(
  "$name: its links lead to files and sections that exist",
  ({ page }) => {
    const broken = links(read(page)).filter((link) => {
      const target = new URL(link, page);
      const file = new URL(target.pathname, target);
      if (!existsSync(fileURLToPath(file))) return true;
      return target.hash !== "" && !anchors(read(file)).includes(target.hash);
    });

    expect(broken).toEqual([]);
  },
);

test("the code on the pages type-checks against the built package", async () => {
  // Those of the README are run, too: elsewhere.
  const [, ...others] = pages;
  const blocks = others.flatMap((page) => {
    const name = page.pathname.split("/").at(-1)?.replace(".md", "") ?? "";
    return typescriptBlocks(read(page)).map(
      ({ line, code }) => [`${name}-${line}.ts`, code] as const,
    );
  });
  await using project = await consumer(Object.fromEntries(blocks));

  expect(blocks.length).toBeGreaterThan(1);
  expect(await compile(project)).toBe("");
});

/** Errors that no client sees: they are for operators, or thrown to the program. */
const NOT_FOR_CLIENTS = new Set(["NOT_FOUND", "OPTIONS_INVALID", "EVENT_UNKNOWN"]);

test("the page of HTTP lists every problem that a client can see, with its status, title and code", () => {
  const listed = table(read(new URL("http.md", docs)), "Status").map(([status, code, title]) => [
    status,
    code,
    title,
  ]);
  const options = parseHttpOptions();
  const problems = ERROR_CODES.filter((code) => !NOT_FOR_CLIENTS.has(code)).map((code) => {
    const { body } = problemFor(new IdempotencyError(code, ""), options);
    const { status, title } = JSON.parse(body.toString()) as { status: number; title: string };
    return [String(status), `\`${code}\``, title];
  });

  expect(new Set(listed)).toEqual(new Set(problems));
  expect(listed).toHaveLength(problems.length);
});

test("the failure handbook says of every error what an operator does about it", () => {
  const handbook = read(new URL("operating.md", docs)).split("## Failure handbook")[1] ?? "";
  const headings = [...handbook.matchAll(/^### (.+)$/gm)].flatMap(([, codes = ""]) =>
    codes.split(", "),
  );

  expect(new Set(headings)).toEqual(new Set(ERROR_CODES));
  expect(headings).toHaveLength(ERROR_CODES.length);
});

/** All code of the kit, file by file. */
const sources = ["../src/", "../stores/"].flatMap((folder) => {
  const root = new URL(folder, docs);
  return readdirSync(root, { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".ts"))
    .map((name) => read(new URL(name, root)));
});

test("the handbook lists every process warning that has a code", () => {
  const codes = sources.flatMap((source) =>
    [...source.matchAll(/code: "(IDEMPOTENCY_[A-Z_]+)"/g)].map(([, code]) => `\`${code}\``),
  );
  const listed = table(read(new URL("operating.md", docs)), "Warning").map(
    ([cell = ""]) => /^`\w+`/.exec(cell)?.[0],
  );

  expect(codes.length).toBeGreaterThan(3);
  expect(new Set(listed)).toEqual(new Set(codes));
});

/** What of a message is always the same: how it begins. */
function beginning(message: string): string {
  return message.split(/\$\{|…/)[0] ?? "";
}

/** How the messages of a store's failures begin in the sources, constants included. */
function failures(): string[] {
  return sources.flatMap((source) =>
    [...source.matchAll(/new (?:StoreUnavailable|LockFailed)Error\(\s*(\w+|["`][^"`]*)/g)].map(
      ([, given = ""]) => {
        if (/^["`]/.test(given)) return beginning(given.slice(1));
        const [, text = ""] =
          new RegExp(`(?:const ${given} =|\\b${given}:)[^"\`;]*["\`]([^"\`]*)`).exec(source) ?? [];
        return beginning(text);
      },
    ),
  );
}

test("the handbook has every message of a store that failed, by how it begins, and no other", () => {
  const handbook = read(new URL("operating.md", docs)).split("## Failure handbook")[1] ?? "";
  const rows = handbook
    .split(/^### /m)
    .flatMap((section) => table(section, "Message"))
    .flatMap(([cell = ""]) => Array.from(cell.matchAll(/`([^`]+)`/g)))
    .map(([, message = ""]) => beginning(message));
  const messages = failures().filter((message) => message !== "");
  const agree = (one: string) => (other: string) => one.startsWith(other) || other.startsWith(one);

  expect(messages.length).toBeGreaterThan(20);
  expect(messages.filter((message) => !rows.some(agree(message)))).toEqual([]);
  expect(rows.filter((row) => !messages.some(agree(row)))).toEqual([]);
});

test("the table of events names every event of the kit, in its order", () => {
  const named = table(read(new URL("operating.md", docs)), "Event").map(([name]) => name);
  const source = read(new URL("../src/events.ts", docs));
  const union = source.slice(source.indexOf("export type IdempotencyEvent"));
  const events = [...union.matchAll(/type: "([a-z-]+)"/g)].map(([, type]) => `\`${type}\``);

  expect(named).toEqual(events);
});

test("the pages on guarantees and faults name every mistake, fault and flaw that the tests make, and no other", () => {
  const guarantees = read(new URL("guarantees.md", docs));
  const faults = read(new URL("faults.md", docs));
  const flaws = faults.slice(faults.indexOf("## Flawed stores are caught"));
  const rows = (page: string, head: string) =>
    table(page, head).map((row) => row.map((cell) => cell.replaceAll("`", "")));

  expect(
    rows(guarantees, "Mistake")
      .map(([name, store]) => `${name}: ${store}`)
      .toSorted(),
  ).toEqual(
    Object.entries(MUTANTS)
      .map(([name, { store }]) => `${name}: ${store}`)
      .toSorted(),
  );
  expect(rows(faults, "Fault").map(([name]) => name)).toEqual([...FAULT_KINDS]);
  expect(
    rows(flaws, "Store").map(([name, flaw, breaks]) => [name, flaw, breaks?.slice(0, 2)]),
  ).toEqual(Object.entries(FLAWED_STORES).map(([name, { flaw, breaks }]) => [name, flaw, breaks]));
});

test("the promises have the same numbers and names on the README and on the page about them", () => {
  const named = (page: string) =>
    [...page.matchAll(/^- \*\*P(\d) ([^*]+)\.\*\*/gm)].map(([, number, name]) => ({
      number,
      name,
    }));
  const promises = named(read(new URL("../README.md", docs)));

  expect(promises.map(({ number }) => number).join("")).toBe("123456789");
  expect(named(read(new URL("guarantees.md", docs)))).toEqual(promises);
});

test("every npm script that a page names exists", () => {
  const manifest = read(new URL("../package.json", docs));
  const { scripts } = JSON.parse(manifest) as { scripts: Record<string, string> };
  const named = pages.flatMap((page) =>
    [...read(page).matchAll(/npm run ([\w:]+)/g)].map(([, name = ""]) => name),
  );

  expect(named.length).toBeGreaterThan(10);
  expect(named.filter((name) => !Object.hasOwn(scripts, name))).toEqual([]);
});

/** The kits that a page compares, by the head of its table. */
function compared(page: string): string[] {
  const [head = ""] = /^\|.*\| this kit .*$/m.exec(page) ?? [];
  return head
    .split("|")
    .map((cell) => cell.trim())
    .filter((cell) => cell !== "" && cell !== "this kit");
}

test("the kits compared are those of the README, and each has a section on moving from it", () => {
  const page = read(new URL("migrating.md", docs));
  const kits = compared(page);

  expect(kits).toEqual(
    expect.arrayContaining([
      "Powertools",
      "node-idempotency",
      "express-idempotency",
      "hono-idempotency",
      "idemkit",
    ]),
  );
  const readme = read(new URL("../README.md", docs));
  expect(compared(readme)).toEqual(kits);
  expect(anchors(page)).toEqual(
    expect.arrayContaining(kits.map((kit) => `#from-${kit.toLowerCase()}`)),
  );
  // Of which day, and which version, is said of each.
  const [dated = ""] = /^As of .*?\n\n/ms.exec(page) ?? [];
  for (const kit of kits) expect(dated).toMatch(new RegExp(`${kit}[^;]*?\\d+\\.\\d+\\.\\d+`));
  const [said = ""] = /^As of .*?\n\n/ms.exec(readme) ?? [];
  const versionsIn = (text: string) => text.match(/\d+\.\d+\.\d+/g)?.toSorted();
  expect(versionsIn(said)).toEqual(versionsIn(dated));
  const monthOf = (text: string) => /^As of \w+ \d+/.exec(text)?.[0];
  expect(monthOf(said)).toBe(monthOf(dated));
});

test("the page on telemetry names the channels as they are", () => {
  const page = read(new URL("telemetry.md", docs));
  const named = [...page.matchAll(/^- `([\w:*-]+)`:/gm)].map(([, name]) => name);
  const traced = [REQUEST_CHANNEL, HANDLER_CHANNEL, STORE_CHANNEL].map(
    (name) => `tracing:${name}:*`,
  );
  expect(named).toEqual([EVENT_CHANNEL, ...traced]);
});

test("the checks find links and sections", () => {
  const page =
    '# One `Two`: three?\n[a](b.md#c), ![d](e.png), [f](https://g.example), [h]: i.md\n[x][h]\n<img src="j.png">';

  expect(anchors(page)).toEqual(["#one-two-three"]);
  expect(links(page)).toEqual(["b.md#c", "e.png", "j.png"]);
});
