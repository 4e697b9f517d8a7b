/** What a server's configuration file says. */
import { join } from "node:path";
import { selfSigned, type Certificate } from "./certificate.js";
import { freePort } from "./ports.js";

/** Directives as in redis.conf; a list gives the directive once per entry. */
export type RedisConfig = Readonly<Record<string, string | readonly string[]>>;

export interface RedisNodeOptions {
  /**
   * How writes reach the disk, default `everysec`: the append-only file is written before the reply, so that
   * nothing is lost with the process; `always` also syncs it each time, `none` starts empty after every crash.
   */
  readonly persistence?: "none" | "everysec" | "always";
  /** A certificate of its own, or one that it shares with the nodes that it talks to. */
  readonly tls?: boolean | Certificate;
  readonly config?: RedisConfig;
  /** Over the environment of this process: what is preloaded, for example. */
  readonly env?: Readonly<Record<string, string>>;
}

/** Text by file name. */
export type Files = Readonly<Record<string, string>>;

/** The certificate to start with; nodes of one group must share it, because they verify each other. */
export function certificateOf({ tls }: RedisNodeOptions): Certificate | undefined {
  return tls === true ? selfSigned() : tls || undefined;
}

export async function basics(
  port: number,
  dir: string,
  { persistence = "everysec" }: RedisNodeOptions,
): Promise<RedisConfig> {
  return {
    bind: "127.0.0.1",
    port: `${port}`,
    // Default is port + 10000, which may be taken.
    "cluster-port": `${await freePort()}`,
    dir,
    save: '""',
    appendonly: persistence === "none" ? "no" : "yes",
    appendfsync: persistence === "always" ? "always" : "everysec",
    // DEBUG SLEEP, DEBUG SET-ACTIVE-EXPIRE
    "enable-debug-command": "local",
    // Replicas shall follow at once instead of waiting five seconds for others to join.
    "repl-diskless-sync-delay": "0",
  };
}

export function tlsConfig(port: number, dir: string): RedisConfig {
  return {
    port: "0",
    "tls-port": `${port}`,
    "tls-cert-file": join(dir, "tls.crt"),
    "tls-key-file": join(dir, "tls.key"),
    "tls-ca-cert-file": join(dir, "tls.crt"),
    "tls-auth-clients": "no",
    // Between nodes as well; for a sentinel: to the nodes that it watches.
    "tls-replication": "yes",
  };
}

export function tlsFiles(certificate: Certificate | undefined): Files {
  return certificate === undefined
    ? {}
    : { "tls.crt": certificate.cert, "tls.key": certificate.key };
}

export function configText(config: RedisConfig): string {
  const lines = Object.entries(config).flatMap(([name, value]) =>
    (typeof value === "string" ? [value] : value).map((one) => `${name} ${one}`),
  );
  return `${lines.join("\n")}\n`;
}
