/** docs/options.md is what the docstrings say: `npm run docs` writes it, and here it must not differ. */
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { parseHttpOptions } from "../../src/http/options.js";
import { codeIn, tableOf } from "./readme.js";
import { optionsOf, type DocumentedOption, type Owner } from "./options.js";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

const SECTIONS: readonly (Owner & { readonly signature: string; readonly about: string })[] = [
  {
    file: "src/http.ts",
    name: "idempotency",
    signature: "idempotency(store, options?)",
    about:
      "The middleware. `idempotentHandler` of `idempotency-kit/lambda` and `idempotentFetchHandler` of `idempotency-kit/fetch`\ntake the same, all but `serverTiming`.",
  },
  {
    file: "stores/memory.ts",
    name: "memoryStore",
    signature: "memoryStore(options?)",
    about: "Of `idempotency-kit/memory`.",
  },
  {
    file: "stores/redis.ts",
    name: "redisStore",
    signature: "redisStore(client, options?)",
    about: "Of `idempotency-kit/redis`: a single server, Sentinel or Cluster.",
  },
  {
    file: "stores/redlock.ts",
    name: "redlockStore",
    signature: "redlockStore(clients, options?)",
    about: "Of `idempotency-kit/redlock`: a quorum of independent Redis servers.",
  },
  {
    file: "stores/dynamodb.ts",
    name: "dynamodbStore",
    signature: "dynamodbStore(options)",
    about: "Of `idempotency-kit/dynamodb`. `createTable` takes those that are about the table.",
  },
  {
    file: "stores/local-cache.ts",
    name: "withLocalCache",
    signature: "withLocalCache(store, options?)",
    about: "Of `idempotency-kit/local-cache`: a front for any store.",
  },
  {
    file: "stores/encrypted.ts",
    name: "encryptedStore",
    signature: "encryptedStore(store, options)",
    about:
      "Of `idempotency-kit/encrypted`: a front for any store. See [encryption](encryption.md).",
  },
  {
    file: "src/client.ts",
    name: "retryingFetch",
    signature: "retryingFetch(options?)",
    about: "Of `idempotency-kit/client`. See [the client](client.md).",
  },
];

const INTRODUCTION = `# Options

Unknown names and wrong values throw an \`OptionsError\` at once, with every mistake listed; \`undefined\` is the default.
Durations are in milliseconds, sizes in bytes. Some may also be set by [environment variables](environment.md).

This page is made from the docstrings of the types, by \`npm run docs\`.
`;

test("docs/options.md says of every option what its docstring says", async () => {
  const options = optionsOf(ROOT, SECTIONS);
  const sections = SECTIONS.map(({ signature, about }, at) =>
    [`## \`${signature}\``, about, table(options[at] ?? [])].join("\n\n"),
  );
  const page = `${[INTRODUCTION.trimEnd(), ...sections].join("\n\n")}\n`;

  await expect(page).toMatchFileSnapshot("../../docs/options.md");
});

test("the defaults that the middleware's docstrings name are those that it has", () => {
  const [documented = []] = optionsOf(ROOT, SECTIONS.slice(0, 1));
  const actual = Object.entries(parseHttpOptions());

  expect(documented.map(({ name }) => name).toSorted()).toEqual(
    actual.map(([name]) => name).toSorted(),
  );
  for (const [name, value] of actual) {
    const option = documented.find((one) => one.name === name);
    const said = codeIn(/^`[^`]*`/.exec(option?.fallback ?? "")?.[0]);
    expect({ name, said }).toEqual({ name, said: typeof value === "function" ? undefined : value });
  }
});

function table(options: readonly DocumentedOption[]): string {
  const rows = options.map(({ name, fallback = "must be given", meaning }) =>
    [`\`${name}\``, fallback, meaning].map((cell) => cell.replaceAll("|", String.raw`\|`)),
  );
  return tableOf([["Option", "Default", "Meaning"], ...rows]);
}

test("C17: every option that is a time is named Ms, and no other", () => {
  const options = optionsOf(ROOT, SECTIONS).flat();
  const isTime = ({ meaning }: DocumentedOption) => /\bmilliseconds\b/i.test(meaning);
  const namesOf = (some: readonly DocumentedOption[]) => some.map(({ name }) => name);

  expect(options.filter(isTime).length).toBeGreaterThan(10);
  expect(namesOf(options.filter(isTime))).toEqual(
    namesOf(options.filter(({ name }) => name.endsWith("Ms"))),
  );
});
