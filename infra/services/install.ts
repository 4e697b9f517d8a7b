/** The programs that services run: found on the path, or installed from Debian's packages where that is possible. */
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { findOnPath } from "./process.js";

interface Program {
  readonly command: string;
  readonly debianPackage: string;
  /** Set by who has it somewhere else than on the path. */
  readonly elsewhere: () => string | undefined;
  /** What to do where it can be neither found nor installed: one line. */
  readonly missing: string;
}

const REDIS_SERVER: Program = {
  command: "redis-server",
  debianPackage: "redis-server",
  elsewhere: () => process.env["REDIS_SERVER"],
  missing:
    "redis-server is not on the path: install Redis 7.0 or newer " +
    "(Debian, Ubuntu: apt-get install redis-server; macOS: brew install redis), or set REDIS_SERVER to its path.",
};

const JAVA: Program = {
  command: "java",
  debianPackage: "default-jre-headless",
  elsewhere: () => {
    const home = process.env["JAVA_HOME"];
    return home === undefined ? undefined : join(home, "bin/java");
  },
  missing:
    "java is not on the path: install Java 17 or newer " +
    "(Debian, Ubuntu: apt-get install default-jre-headless; macOS: brew install openjdk), or set JAVA_HOME.",
};

/** A slow mirror, not a hung one. */
const INSTALL_TIMEOUT_MS = 300_000;

/**
 * `flock` keeps parallel test workers apart; whoever comes second finds the program installed. A policy-rc.d that
 * answers 101 tells Debian's maintainer scripts to start no service; a machine's own policy is left as it is.
 */
const INSTALL_SCRIPT = `
command -v "$1" >/dev/null && exit 0
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  trap 'rm -f "$policy"' EXIT
  printf '#!/bin/sh\\nexit 101\\n' > "$policy" && chmod 755 "$policy"
fi
apt-get -qq update && apt-get -qq install -y --no-install-recommends "$2"
`;

/**
 * The path of `redis-server`: `$REDIS_SERVER` (a Valkey server will do as well), else from the path, else Debian's
 * package, installed where we are root and may.
 *
 * @throws {Error} that says in one line what to install.
 */
export function redisServer(): Promise<string> {
  return pathOf(REDIS_SERVER);
}

/** The path of `java`: of `$JAVA_HOME`, else as {@link redisServer} is found. */
export function java(): Promise<string> {
  return pathOf(JAVA);
}

const installing = new Map<Program, Promise<string>>();

async function pathOf(program: Program): Promise<string> {
  const found = program.elsewhere() ?? findOnPath(program.command);
  if (found !== undefined) return found;
  if (!canInstall()) throw new Error(program.missing);
  // Several servers start at once; one of them installs.
  const installed = installing.get(program) ?? install(program);
  installing.set(program, installed);
  return await installed;
}

async function install({ command, debianPackage, missing }: Program): Promise<string> {
  console.log(
    `${command} is not on the path: installing Debian's ${debianPackage} (apt-get install).`,
  );
  try {
    await promisify(execFile)(
      "flock",
      ["/tmp/idempotency-kit-apt.lock", "sh", "-c", INSTALL_SCRIPT, "sh", command, debianPackage],
      {
        env: { ...process.env, DEBIAN_FRONTEND: "noninteractive" },
        timeout: INSTALL_TIMEOUT_MS,
      },
    );
  } catch (error) {
    throw new Error(missing, { cause: error });
  }
  const installed = findOnPath(command);
  if (installed === undefined) throw new Error(missing);
  return installed;
}

function canInstall(): boolean {
  return (
    process.getuid?.() === 0 &&
    existsSync("/etc/debian_version") &&
    findOnPath("apt-get") !== undefined &&
    findOnPath("flock") !== undefined
  );
}
