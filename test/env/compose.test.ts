/** infra/compose.yml as far as it can be checked without Docker: the servers that it would start, started here. */
import { readFileSync } from "node:fs";
import { describe, expect, onTestFinished, test } from "vitest";
import { parse } from "yaml";
import { startRedis } from "../../infra/services/redis.js";
import { readEnvironment } from "../../stores/from-env/environment.js";
import { connectRedis, examineRedis } from "../../stores/redis.js";

interface ComposeService {
  readonly image: string;
  readonly command: readonly string[];
  readonly ports: readonly string[];
  readonly volumes?: readonly string[];
}

interface Compose {
  readonly services: Readonly<Record<string, ComposeService>>;
  readonly volumes: Readonly<Record<string, null>>;
}

const read = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url), "utf8");
const { services, volumes } = parse(read("infra/compose.yml"), { merge: true }) as Compose;
const all = Object.entries(services);
const regions = all.filter(([name]) => name.startsWith("redis-"));

test("images have versions, and ports are open to this machine alone", () => {
  for (const [, { image, ports }] of all) {
    expect(image).toMatch(/^[\w./-]+:\d+\.\d+[\w.-]*$/);
    for (const port of ports) expect(port).toMatch(/^127\.0\.0\.1:\d+:\d+$/);
  }
  const taken = all.flatMap(([, { ports }]) => ports.map((port) => port.split(":")[1]));
  expect(new Set(taken).size).toBe(taken.length);
});

describe("the regions", () => {
  test("are an odd number, each with a volume of its own for what it persists", () => {
    expect(regions.length % 2).toBe(1);
    const mounted = regions.flatMap(([, { volumes: own = [] }]) => own);
    expect(mounted.toSorted()).toEqual(regions.map(([name]) => `${name}:/data`).toSorted());
    expect(Object.keys(volumes).toSorted()).toEqual(regions.map(([name]) => name).toSorted());
  });

  test("are those of the URL on the page of environments", () => {
    const [, url = ""] = /IDEMPOTENCY_STORE=(redlock:\S+)/.exec(read("docs/environment.md")) ?? [];
    const { target } = readEnvironment({ IDEMPOTENCY_STORE: url });
    expect(target.names).toEqual(
      regions.map(([, { ports }]) => ports[0]?.split(":").slice(0, 2).join(":")),
    );
  });

  test("run with what the doctor calls power-safe", async () => {
    const [server, ...flags] = regions[0]?.[1].command ?? [];
    expect(server).toBe("redis-server");
    const commands = new Set(regions.map(([, { command }]) => command.join(" ")));
    expect(commands.size).toBe(1);
    const config = Object.fromEntries(
      flags.flatMap((flag, at) =>
        flag.startsWith("--") ? [[flag.slice(2), flags[at + 1] || '""']] : [],
      ),
    );
    const node = await startRedis({ config });
    const client = connectRedis(node.url);
    onTestFinished(async () => {
      client.disconnect();
      await node.close();
    });
    expect(await examineRedis(client)).toEqual({ level: "power-safe", errors: [], warnings: [] });
    expect(config).toHaveProperty("appendfsync", "always");
  });
});

test("DynamoDB Local runs with the flags of infra/services", () => {
  const flags = services["dynamodb"]?.command.filter((flag) => /^-(?!jar)/.test(flag)) ?? [];
  expect(flags.length).toBeGreaterThan(0);
  for (const flag of flags) expect(read("infra/services/dynamodb.ts")).toContain(`"${flag}"`);
});
