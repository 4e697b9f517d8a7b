/** The layout's rules (DESIGN, section 6), each with a violation that it must find. */
import { allImports, chains, type Manifest, type Project } from "./project.js";

export interface Rule {
  /** Everything that breaks the rule; empty where it holds. */
  readonly check: (project: Project) => string[];
  /** A project that breaks it, beside things that do not. */
  readonly broken: Project;
  /** All that the check must say about that project. */
  readonly reports: readonly string[];
}

const OPEN_TO_STORES = new Set(["src/store.ts", "src/errors.ts", "src/options.ts"]);
/** Where stores and protocol meet: its variables are checked by the rules of the options that they stand for. */
const ENVIRONMENT = "stores/from-env.ts";
const OPEN_TO_ENVIRONMENT = new Set(["src/idempotency/options.ts", "src/key/identity.ts"]);
/** Entries of their own, for those who want them: the main entry does not bring them along. */
const OPTIONAL_ENTRIES = new Set(["src/client.ts", "src/fetch.ts", "src/otel.ts"]);
const FRONT_DOORS = new Set(["src/http.ts", "src/fetch.ts", "src/lambda.ts", "src/middy.ts"]);
const HTTP_FILE = /^src\/(door|http|fetch|lambda|middy|problem)(\.ts$|\/)/;
const HTTP_MODULE = /^(node:)?(http|https|http2|net|tls)$/;
const TYPES_ONLY = /^(export )?(interface|type|import type)\b/;
const STORE_FACTORY = /^export (async )?function (\w+Store|storeFrom\w+)\b/m;
const TELEMETRY = "@opentelemetry/api";
const MAX_LINES = 350;

export const RULES: Readonly<Record<string, Rule>> = {
  "a store imports of src/ only the contract, as types, and its errors and options": {
    check: (project) =>
      allImports(project)
        .filter(({ from, target }) => isIn("stores", from) && /^(src|infra)\//.test(target))
        .filter(
          ({ from, target }) => familyOf(from) !== ENVIRONMENT || !OPEN_TO_ENVIRONMENT.has(target),
        )
        .filter(({ target, typeOnly }) =>
          target === "src/store.ts" ? !typeOnly : !OPEN_TO_STORES.has(target),
        )
        .map(arrow),
    broken: planted({
      "stores/a.ts": 'import { x } from "../src/key.js";\nimport { y } from "../src/errors.js";',
      "stores/b.ts": 'import type { Store } from "../src/store.js";\nimport { z } from "./a.js";',
      "stores/c.ts": 'import { type Store } from "../src/store.js";',
      "stores/from-env/a.ts":
        'import { x } from "../../src/key/identity.js";\nimport { y } from "../../src/key.js";',
      "stores/d.ts": 'import { x } from "../src/key/identity.js";',
    }),
    reports: [
      "stores/a.ts -> src/key.ts",
      "stores/c.ts -> src/store.ts",
      "stores/from-env/a.ts -> src/key.ts",
      "stores/d.ts -> src/key/identity.ts",
    ],
  },

  "src/ imports neither stores/ nor infra/": {
    check: (project) =>
      allImports(project)
        .filter(({ from, target }) => isIn("src", from) && /^(stores|infra)\//.test(target))
        .map(arrow),
    broken: planted({ "src/deep/a.ts": 'import type { X } from "../../stores/memory.js";' }),
    reports: ["src/deep/a.ts -> stores/memory.ts"],
  },

  "only src/index.ts imports a front door; programs, those that the package exports": {
    check: (project) => {
      const exported = new Set(Object.values(project.manifest.exports ?? {}).map(sourceOf));
      return allImports(project)
        .filter(({ from, target }) => FRONT_DOORS.has(target) && from !== "src/index.ts")
        .filter(({ from, target }) => !isIn("infra", from) || !exported.has(target))
        .map(arrow);
    },
    broken: planted(
      {
        "infra/a.ts": 'export * from "../src/http.js";\nexport * from "../src/lambda.js";',
        "src/b.ts": 'export * from "./lambda.js";',
        "src/index.ts": 'export { idempotency } from "./http.js";',
      },
      {
        exports: {
          "./lambda": { types: "./dist/src/lambda.d.ts", default: "./dist/src/lambda.js" },
        },
      },
    ),
    reports: ["infra/a.ts -> src/http.ts", "src/b.ts -> src/lambda.ts"],
  },

  "the main entry brings along no optional one": {
    check: (project) =>
      chains(allImports(project), "src/index.ts", (target) => OPTIONAL_ENTRIES.has(target)),
    broken: planted({
      "src/index.ts": 'export * from "./a.js";',
      "src/a.ts": 'import { instrument } from "./otel.js";',
      "src/otel.ts": "",
    }),
    reports: ["src/index.ts -> src/a.ts -> src/otel.ts"],
  },

  "the protocol and all that it reaches know no HTTP server": {
    check: (project) =>
      chains(
        allImports(project),
        "src/idempotency.ts",
        (target) => HTTP_FILE.test(target) || HTTP_MODULE.test(target),
      ),
    broken: planted({
      "src/idempotency.ts": 'import { b } from "./b.js";',
      "src/b.ts":
        'import type { IncomingMessage } from "node:http";\nexport * from "./problem.js";',
      "src/key.ts": 'import { Server } from "node:net";',
    }),
    reports: [
      "src/idempotency.ts -> src/b.ts -> node:http",
      "src/idempotency.ts -> src/b.ts -> src/problem.ts",
    ],
  },

  "the store contract is types only": {
    check: ({ files }) =>
      (files.get("src/store.ts") ?? "")
        .replaceAll(/\/\*.*?\*\//gs, "")
        .split("\n")
        .filter((line) => /^\w/.test(line) && !TYPES_ONLY.test(line)),
    broken: planted({
      "src/store.ts": "export interface A {}\nexport const LIMIT = 1;\nexport type B = A;",
    }),
    reports: ["export const LIMIT = 1;"],
  },

  "imports go round in no circle, types aside": {
    check: (project) => {
      const imports = allImports(project).filter(({ typeOnly }) => !typeOnly);
      return [...project.files.keys()].flatMap((path) =>
        chains(imports, path, (target) => target === path),
      );
    },
    broken: planted({
      "src/a.ts": 'import { b } from "./b.js";',
      "src/b.ts": 'import type { T } from "./a.js";\nexport const c = await import("./c.js");',
      "src/c.ts": 'export { a } from "./a.js";',
    }),
    reports: [
      "src/a.ts -> src/b.ts -> src/c.ts -> src/a.ts",
      "src/b.ts -> src/c.ts -> src/a.ts -> src/b.ts",
      "src/c.ts -> src/a.ts -> src/b.ts -> src/c.ts",
    ],
  },

  "nothing is exported by default": {
    check: ({ files }) =>
      [...files]
        .filter(([, text]) => /^export default\b|^export \{[^}]*\bas default\b/m.test(text))
        .map(([path]) => path),
    broken: planted({
      "src/a.ts": "const a = 1;\nexport { a as default };",
      "stores/b.ts": "export default function b() {}",
      "infra/c.ts": "export const defaults = {};",
    }),
    reports: ["src/a.ts", "stores/b.ts"],
  },

  "packages are imported by stores, each by one; types of them by any store; OpenTelemetry's API by src/otel.ts":
    {
      check: (project) => {
        const bare = allImports(project).filter(({ specifier }) => !/^(\.|node:)/.test(specifier));
        const values = bare.filter(({ from, typeOnly }) => isIn("stores", from) && !typeOnly);
        return bare
          .filter(({ from, target, typeOnly }) => {
            if (isIn("src", from)) return target !== TELEMETRY || !/^src\/otel[./]/.test(from);
            if (typeOnly || !isIn("stores", from)) return false;
            return values.some(
              (other) => other.target === target && familyOf(other.from) !== familyOf(from),
            );
          })
          .map(arrow);
      },
      broken: planted({
        "stores/a.ts": 'import { Redis } from "ioredis";',
        "stores/a/part.ts": 'import { Cluster } from "ioredis";',
        "stores/b.ts": 'import type { Redis } from "ioredis";',
        "stores/c.ts": 'import { DynamoDB } from "@aws-sdk/client-dynamodb";',
        "stores/d.ts": 'import { DynamoDB } from "@aws-sdk/client-dynamodb";',
        "src/d.ts": 'import ms from "ms";\nimport { hash } from "node:crypto";',
        "src/e.ts": 'import { trace } from "@opentelemetry/api";',
        "src/otel.ts": 'import { trace } from "@opentelemetry/api";\nimport ms from "ms";',
        "src/otel/part.ts": 'import type { Span } from "@opentelemetry/api";',
      }),
      reports: [
        "stores/c.ts -> @aws-sdk/client-dynamodb",
        "stores/d.ts -> @aws-sdk/client-dynamodb",
        "src/d.ts -> ms",
        "src/e.ts -> @opentelemetry/api",
        "src/otel.ts -> ms",
      ],
    },

  "what a store imports is an optional peer of the package, also where it is only types": {
    check: (project) => {
      const { peerDependencies = {}, peerDependenciesMeta = {} } = project.manifest;
      return allImports(project)
        .filter(({ from, specifier }) => isIn("stores", from) && !/^(\.|node:)/.test(specifier))
        .filter(
          ({ target }) =>
            !(target in peerDependencies) || peerDependenciesMeta[target]?.optional !== true,
        )
        .map(arrow);
    },
    broken: planted(
      {
        "stores/a.ts": 'import { A } from "a";',
        "stores/b.ts": 'import type { B } from "b";',
        "stores/c.ts": 'import { C } from "c";\nimport { hash } from "node:crypto";',
      },
      {
        peerDependencies: { a: "1", b: "1" },
        peerDependenciesMeta: { a: { optional: true } },
      },
    ),
    reports: ["stores/b.ts -> b", "stores/c.ts -> c"],
  },

  "every export of the package is built from a source file": {
    check: ({ files, manifest }) =>
      Object.entries(manifest.exports ?? {})
        .filter(([name]) => name !== "./package.json")
        .filter(([, entry]) => {
          const source = sourceOf(entry);
          return source === undefined || !files.has(source);
        })
        .map(([name]) => name),
    broken: planted(
      { "src/a.ts": "" },
      {
        exports: {
          ".": { types: "./dist/src/a.d.ts", default: "./dist/src/a.js" },
          "./mixed": { types: "./dist/src/a.d.ts", default: "./dist/src/b.js" },
          "./gone": { types: "./dist/src/gone.d.ts", default: "./dist/src/gone.js" },
          "./bare": "./dist/src/a.js",
          "./package.json": "./package.json",
        },
      },
    ),
    reports: ["./mixed", "./gone", "./bare"],
  },

  "every store, and every file that no other file uses, is exported by the package": {
    check: (project) => {
      const listed = new Set(Object.values(project.manifest.exports ?? {}).map(sourceOf));
      const used = new Set(allImports(project).map(({ target }) => target));
      return [...project.files]
        .filter(([path]) => !isIn("infra", path) && !listed.has(path))
        .filter(([path, text]) => {
          const isStore =
            isIn("stores", path) && familyOf(path) === path && STORE_FACTORY.test(text);
          return isStore || !used.has(path);
        })
        .map(([path]) => path);
    },
    broken: planted({
      "stores/a.ts": "export function aStore() {}",
      "stores/b.ts": 'import { aStore } from "./a.js";\nimport { frame } from "./frame.js";',
      "stores/frame.ts": "export function frame() {}",
      "infra/server.ts": "",
    }),
    reports: ["stores/a.ts", "stores/b.ts"],
  },

  "the package depends on nothing": {
    check: ({ manifest }) => Object.keys(manifest.dependencies ?? {}),
    broken: planted({}, { dependencies: { "left-pad": "1.0.0" } }),
    reports: ["left-pad"],
  },

  [`no source file is longer than ${MAX_LINES} lines`]: {
    check: ({ files }) =>
      [...files]
        .map(([path, text]) => ({ path, lines: text.trimEnd().split("\n").length }))
        .filter(({ lines }) => lines > MAX_LINES)
        .map(({ path, lines }) => `${path}: ${lines} lines`),
    broken: planted({
      "src/a.ts": "\n".repeat(MAX_LINES) + "end\n",
      "src/b.ts": "\n".repeat(MAX_LINES),
    }),
    reports: [`src/a.ts: ${MAX_LINES + 1} lines`],
  },

  "every relative import ends in .js": {
    check: (project) =>
      allImports(project)
        .filter(({ specifier }) => specifier.startsWith(".") && !specifier.endsWith(".js"))
        .map(({ from, specifier }) => `${from} -> ${specifier}`),
    broken: planted({ "src/a.ts": 'import "./b";\nimport "./c.ts";\nimport "./d.js";' }),
    reports: ["src/a.ts -> ./b", "src/a.ts -> ./c.ts"],
  },
};

function isIn(folder: string, path: string): boolean {
  return path.startsWith(`${folder}/`);
}

/** A store's own file, for it and for its parts in the folder of its name. */
function familyOf(path: string): string {
  return path.replace(/^(stores\/[\w-]+)\/.*/, "$1.ts");
}

function arrow({ from, target }: { from: string; target: string }): string {
  return `${from} -> ${target}`;
}

/** `{ types: "./dist/X.d.ts", default: "./dist/X.js" }` comes from `X.ts`; TypeScript wants `types` first. */
function sourceOf(entry: string | Readonly<Record<string, string>>): string | undefined {
  const [, stem] = /"\.\/dist\/([^"]+)\.d\.ts"/.exec(JSON.stringify(entry)) ?? [];
  const built = { types: `./dist/${stem}.d.ts`, default: `./dist/${stem}.js` };
  return JSON.stringify(entry) === JSON.stringify(built) ? `${stem}.ts` : undefined;
}

function planted(files: Record<string, string>, manifest: Manifest = {}): Project {
  return { files: new Map(Object.entries(files)), manifest };
}
