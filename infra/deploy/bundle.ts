/**
 * `node dist/infra/deploy/bundle.js`: the handlers as one folder, dist/lambda. A store's driver is in a file of its own,
 * which is loaded only where that store is chosen.
 */
import { rm } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const root = fileURLToPath(new URL("../../..", import.meta.url));
const outdir = `${root}/dist/lambda`;

/** Drivers are CommonJS, whose `require` a module has to bring. */
const REQUIRE =
  'import { createRequire as __createRequire } from "node:module"; const require = __createRequire(import.meta.url);';

await rm(outdir, { recursive: true, force: true });
const { metafile } = await build({
  entryPoints: [`${root}/infra/handler.ts`],
  outdir,
  bundle: true,
  splitting: true,
  format: "esm",
  platform: "node",
  target: "node22",
  minify: true,
  mainFields: ["module", "main"],
  outExtension: { ".js": ".mjs" },
  banner: { js: REQUIRE },
  metafile: true,
  logLevel: "warning",
});
const files = Object.values(metafile.outputs);
const total = files.reduce((sum, { bytes }) => sum + bytes, 0);
console.log(`dist/lambda: ${files.length} files, ${Math.ceil(total / 1024)} KiB.`);
