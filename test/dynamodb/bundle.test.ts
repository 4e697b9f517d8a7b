/** What a bundler makes of a handler that uses this store alone: it must not bring the drivers of others. */
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { expect, test, vi } from "vitest";

vi.setConfig({ testTimeout: 60_000 });

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

/** The packages in a bundle of this source, the kit's own files as they are published. */
async function packagesIn(source: string): Promise<string[]> {
  const built = `${ROOT}dist/stores/dynamodb.js`;
  if (!existsSync(built)) throw new Error(`${built} is missing: run \`npm run build\` first.`);
  const { metafile } = await build({
    stdin: { contents: source, resolveDir: ROOT },
    bundle: true,
    platform: "node",
    format: "esm",
    mainFields: ["module", "main"],
    metafile: true,
    write: false,
  });
  const names = Object.keys(metafile.inputs).map(
    (path) => /node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(path)?.[1],
  );
  return [...new Set(names.filter((name) => name !== undefined))];
}

const DRIVERS = ["ioredis", "redlock"];

test("a handler on DynamoDB contains neither ioredis nor redlock, nor the document client", async () => {
  const packages = await packagesIn(`
    import { idempotency } from "./dist/src/index.js";
    import { dynamodbStore } from "./dist/stores/dynamodb.js";
    export const safe = idempotency(dynamodbStore({ tableName: "t" }));
  `);
  expect(packages).toContain("@aws-sdk/client-dynamodb");
  for (const other of [...DRIVERS, "@aws-sdk/lib-dynamodb"]) expect(packages).not.toContain(other);
});

test("such a driver would be seen", async () => {
  const packages = await packagesIn(`export { redlockStore } from "./dist/stores/redlock.js";`);
  expect(packages).toEqual(expect.arrayContaining(DRIVERS));
});
