import { once } from "node:events";
import { createServer } from "node:net";

/**
 * Below the ephemeral range of Linux (32768 up) and macOS (49152 up). A port from that range may be taken as the
 * local port of somebody's outgoing connection while our server is down for a restart; and a client that keeps
 * reconnecting to such a port can end up connected to itself.
 */
const FIRST_PORT = 20_000;
const LAST_PORT = 32_767;

/** More misses than this mean that something else is wrong than a busy port. */
const MAX_TRIES = 100;

/** Handed out by this process and not yet bound by whoever asked: never given twice. */
const given = new Set<number>();

/** A loopback port that nobody listens on. Another process may still take it: retry on EADDRINUSE. */
export async function freePort(): Promise<number> {
  for (let tries = 0; tries < MAX_TRIES; tries += 1) {
    const port = FIRST_PORT + Math.floor(Math.random() * (LAST_PORT - FIRST_PORT + 1));
    if (given.has(port)) continue;
    given.add(port);
    if (await isFree(port)) return port;
    given.delete(port);
  }
  throw new Error(
    `No free loopback port in ${MAX_TRIES} tries from ${FIRST_PORT} to ${LAST_PORT}.`,
  );
}

/** Whether nobody listens there, on loopback. */
export async function isFree(port: number): Promise<boolean> {
  const probe = createServer();
  try {
    probe.listen({ port, host: "127.0.0.1" });
    await once(probe, "listening");
  } catch {
    return false;
  }
  probe.close();
  await once(probe, "close");
  return true;
}
