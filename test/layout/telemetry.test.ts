/** The Prometheus recipe of docs/telemetry.md, run as it stands there. */
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { compile, consumer } from "./consumer.js";
import { typescriptBlocks } from "./readme.js";

const page = readFileSync(new URL("../../docs/telemetry.md", import.meta.url), "utf8");

/** The compiler takes seconds, and several times as many on a busy machine. */
const COMPILING_MS = 60_000;

const DRIVE = `
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { idempotency } from "idempotency-kit";
import { memoryStore } from "idempotency-kit/memory";
import { register } from "prom-client";
import "./metrics.js";

const safe = idempotency(memoryStore());
const server = createServer(safe.wrap((_, res) => void res.writeHead(500).end())).listen(0);
const { port } = server.address() as AddressInfo;
const headers = { "Idempotency-Key": "k", Connection: "close" };
await fetch(\`http://localhost:\${port}/\`, { method: "POST", headers });
console.log(await register.metrics());
server.close();
`;

test(
  "the Prometheus recipe counts and times what happens",
  async () => {
    const recipe = typescriptBlocks(page).find(({ code }) => code.includes("prom-client"));
    const sources = { "metrics.ts": recipe?.code ?? "", "drive.ts": DRIVE };
    await using project = await consumer(sources);
    expect(await compile(project)).toBe("");

    const run = promisify(execFile);
    const { stdout } = await run(process.execPath, [join(project.folder, "out/drive.js")]);

    expect(stdout.split("\n")).toEqual(
      expect.arrayContaining([
        'idempotency_request_duration_seconds_count{outcome="released",code=""} 1',
        'idempotency_store_duration_seconds_count{operation="lock",outcome="acquired"} 1',
        'idempotency_store_duration_seconds_count{operation="unlock",outcome="unlocked"} 1',
        'idempotency_events_total{type="released"} 1',
      ]),
    );
  },
  COMPILING_MS,
);
