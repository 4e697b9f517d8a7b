import { readFileSync } from "node:fs";
import { expect, test } from "vitest";

const page = new URL("../../docs/pitfalls.md", import.meta.url);
const rows = [...readFileSync(page, "utf8").matchAll(/^\| (C\d+)\s*\|([^|]+)\|([^|]+)\|$/gm)];

test("every pitfall is on the page once, in order", () => {
  expect(rows.map(([, number]) => number)).toEqual(
    Array.from({ length: 48 }, (_, i) => `C${i + 1}`),
  );
});

test.each(rows.map(([, number = "", , where = ""]) => ({ number, where })))(
  "$number has a test that bears its number, or a sentence why it cannot happen",
  ({ number, where }) => {
    const links = [...where.matchAll(/\]\(([^)]+)\)/g)].map(([, link = ""]) => link);
    const texts = links.map((link) => readFileSync(new URL(link, page), "utf8"));
    const proves = (text: string) => new RegExp(`\\b${number}\\b`).test(text);

    expect(texts.every(proves)).toBe(true);
    expect(links.length > 0 || where.trim().length > 40).toBe(true);
  },
);
