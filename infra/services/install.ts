import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { promisify } from "node:util";
import { findOnPath } from "./process.js";

const MISSING =
  "redis-server is not on the path: install Redis 7.0 or newer " +
  "(Debian, Ubuntu: apt-get install redis-server; macOS: brew install redis), or set REDIS_SERVER to its path.";

/** A slow mirror, not a hung one. */
const INSTALL_TIMEOUT_MS = 300_000;

/**
 * `flock` keeps parallel test workers apart; whoever comes second finds the server installed. A policy-rc.d that
 * answers 101 tells Debian's maintainer scripts to start no service; a machine's own policy is left as it is.
 */
const INSTALL_SCRIPT = `
command -v redis-server >/dev/null && exit 0
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  trap 'rm -f "$policy"' EXIT
  printf '#!/bin/sh\\nexit 101\\n' > "$policy" && chmod 755 "$policy"
fi
apt-get -qq update && apt-get -qq install -y --no-install-recommends redis-server
`;

/**
 * The path of `redis-server`: `$REDIS_SERVER` (a Valkey server will do as well), else from the path, else Debian's
 * package, installed where we are root and may.
 *
 * @throws {Error} that says in one line what to install.
 */
export async function redisServer(): Promise<string> {
  const found = process.env["REDIS_SERVER"] ?? findOnPath("redis-server");
  if (found !== undefined) return found;
  if (!canInstall()) throw new Error(MISSING);
  // Several servers start at once; one of them installs.
  installing ??= install();
  return await installing;
}

let installing: Promise<string> | undefined;

async function install(): Promise<string> {
  console.log("redis-server is not on the path: installing Debian's package (apt-get install).");
  try {
    await promisify(execFile)(
      "flock",
      ["/tmp/idempotency-kit-apt.lock", "sh", "-c", INSTALL_SCRIPT],
      {
        env: { ...process.env, DEBIAN_FRONTEND: "noninteractive" },
        timeout: INSTALL_TIMEOUT_MS,
      },
    );
  } catch (error) {
    throw new Error(MISSING, { cause: error });
  }
  const installed = findOnPath("redis-server");
  if (installed === undefined) throw new Error(MISSING);
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

export async function browserPath(): Promise<string> {
  return findOnPath("chromium") ?? "chromium";
}
