/** One real Redis server on a loopback port, with everything a fault test does to it. */
import { rmSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Redis } from "ioredis";
import type { Certificate } from "./certificate.js";
import { redisServer } from "./install.js";
import { freePort } from "./ports.js";
import {
  basics,
  certificateOf,
  configText,
  tlsConfig,
  tlsFiles,
  type Files,
  type RedisNodeOptions,
} from "./redis-config.js";
import { launch, type ServerProcess } from "./process.js";

export interface RedisNode {
  readonly port: number;
  /** `redis://127.0.0.1:port`, `rediss:` with `tls`. */
  readonly url: string;
  /** PEM of the certificate to trust, with `tls`. */
  readonly ca: string | undefined;
  readonly pid: number;
  readonly running: boolean;
  /** Sends one command over a connection of its own. */
  command(name: string, ...args: string[]): Promise<unknown>;
  /** SIGKILL. */
  kill(): Promise<void>;
  /** SIGSTOP: connections stay open, nothing is answered. */
  stop(): Promise<void>;
  /** SIGCONT: whatever lies in its socket buffers is executed now. */
  resume(): void;
  /** On the same port, killed first if it runs. `keepData: false` loses the records, not the cluster membership. */
  restart(options: { readonly keepData: boolean }): Promise<void>;
  /** Kills it and removes its folder. */
  close(): Promise<void>;
}

/** Where a server lives while it is down. */
interface Site {
  readonly dir: string;
  readonly port: number;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

const folders = new Set<string>();

// For those whose test did not come as far as close().
process.on("exit", () => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

const READY = /Ready to accept connections|Sentinel ID is/;

/** Ports are picked at random and bound a moment later; another process may be faster, but not ten times. */
const MAX_PORT_TRIES = 10;

/** A loopback server that does not answer for this long is down, whatever the test thinks. */
const COMMAND_TIMEOUT_MS = 5_000;

export async function startRedis(options: RedisNodeOptions = {}): Promise<RedisNode> {
  const certificate = certificateOf(options);
  const filesFor = async (port: number, dir: string): Promise<Files> => ({
    "redis.conf": configText({
      ...(await basics(port, dir, options)),
      ...(certificate === undefined ? {} : tlsConfig(port, dir)),
      ...options.config,
    }),
    ...tlsFiles(certificate),
  });
  const { site, server } = await startOnFreePort("redis.conf", [], filesFor, options.env);
  const password = options.config?.["requirepass"];
  return nodeOf(site, server, {
    persistent: options.persistence !== "none",
    certificate,
    password: typeof password === "string" ? password : undefined,
  });
}

/** A sentinel is a node too: it can be killed, stopped and restarted. */
export async function startSentinelNode(
  monitor: readonly string[],
  certificate?: Certificate,
): Promise<RedisNode> {
  const { site, server } = await startOnFreePort("sentinel.conf", ["--sentinel"], (port, dir) => {
    const config = { port: `${port}`, bind: "127.0.0.1", dir };
    const tls = certificate === undefined ? {} : tlsConfig(port, dir);
    return {
      "sentinel.conf": `${configText({ ...config, ...tls })}${monitor.join("\n")}\n`,
      ...tlsFiles(certificate),
    };
  });
  return nodeOf(site, server, { persistent: true, certificate });
}

async function startOnFreePort(
  configName: string,
  args: readonly string[],
  filesFor: (port: number, dir: string) => Files | Promise<Files>,
  env: Readonly<Record<string, string>> = {},
): Promise<{ site: Site; server: ServerProcess }> {
  for (let tries = 1; ; tries += 1) {
    const port = await freePort();
    const dir = await mkdtemp(join(tmpdir(), "idempotency-kit-redis-"));
    folders.add(dir);
    try {
      const files = Object.entries(await filesFor(port, dir));
      await Promise.all(files.map(([name, text]) => writeFile(join(dir, name), text)));
      const site = { dir, port, args: [join(dir, configName), ...args], env };
      return { site, server: await launchAt(site) };
    } catch (error) {
      await removeFolder(dir);
      const taken = error instanceof Error && error.message.includes("Address already in use");
      if (!taken || tries === MAX_PORT_TRIES) throw error;
    }
  }
}

async function removeFolder(dir: string): Promise<void> {
  // A child that writes a snapshot outlives its killed server by a moment, and may add a file meanwhile.
  await rm(dir, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 });
  folders.delete(dir);
}

async function launchAt({ args, env }: Site): Promise<ServerProcess> {
  return launch({ command: await redisServer(), args, readyWhen: READY, env });
}

interface NodeTraits {
  readonly persistent: boolean;
  readonly certificate?: Certificate | undefined;
  readonly password?: string | undefined;
}

function nodeOf(site: Site, first: ServerProcess, traits: NodeTraits): RedisNode {
  let server = first;
  const { dir, port } = site;
  const ca = traits.certificate?.cert;
  return {
    port,
    url: `${ca === undefined ? "redis" : "rediss"}://127.0.0.1:${port}`,
    ca,
    get pid() {
      return server.pid;
    },
    get running() {
      return server.running;
    },
    command: (name, ...args) => sendOnce(port, traits, name, args),
    kill: () => server.kill(),
    stop: () => server.stop(),
    resume: () => {
      server.resume();
    },
    restart: async ({ keepData }) => {
      if (keepData && !traits.persistent)
        throw new Error("A node without persistence keeps nothing.");
      await server.kill();
      if (!keepData) await rm(join(dir, "appendonlydir"), { recursive: true, force: true });
      server = await launchAt(site);
    },
    close: async () => {
      // Some containers keep a stopped process in the table until it is continued.
      server.resume();
      await server.kill();
      await removeFolder(dir);
    },
  };
}

async function sendOnce(
  port: number,
  { certificate, password }: NodeTraits,
  name: string,
  args: string[],
): Promise<unknown> {
  const client = new Redis({
    host: "127.0.0.1",
    port,
    ...(certificate === undefined ? {} : { tls: { ca: certificate.cert } }),
    ...(password === undefined ? {} : { password }),
    lazyConnect: true,
    enableReadyCheck: false,
    disableClientInfo: true,
    retryStrategy: null,
    connectTimeout: COMMAND_TIMEOUT_MS,
    commandTimeout: COMMAND_TIMEOUT_MS,
  });
  // Without a listener ioredis prints it; the rejected promise says the same.
  client.on("error", () => undefined);
  try {
    return await client.call(name, ...args);
  } finally {
    client.disconnect();
  }
}
