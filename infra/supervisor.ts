/** Runs the demo server in a process of its own, and starts it again when it was killed: the page can do that. */
import { fork, type ChildProcess } from "node:child_process";
import { fileURLToPath } from "node:url";

const SERVER = fileURLToPath(new URL("server.js", import.meta.url));

/** Meanwhile somebody else's connection may have got the port for a moment. */
const MAX_TRIES = 20;
const RETRY_MS = 250;

let child: ChildProcess;
let stopping = false;

function start(port: string | undefined, tries = 0): void {
  let listening = port;
  let wasUp = false;
  const env = { ...process.env, ...(port !== undefined && { PORT: port }) };
  // Out of reach of the terminal's Ctrl-C, which this process hands on: once.
  child = fork(SERVER, { env, detached: true });
  // The page that is open must find the next server where it found the last.
  child.on("message", (message) => {
    wasUp = true;
    listening = String((message as { port: number }).port);
  });
  child.once("exit", (code, signal) => {
    if (stopping) process.exitCode = code ?? 1;
    // One that is killed before it is up would be so again and again.
    else if (signal === "SIGKILL" && wasUp) start(listening, MAX_TRIES);
    else if (code !== 0 && tries > 0) setTimeout(() => start(listening, tries - 1), RETRY_MS);
    else process.exitCode = code ?? 1;
  });
}

for (const signal of ["SIGTERM", "SIGINT"] as const) {
  process.on(signal, () => {
    stopping = true;
    child.kill(signal);
  });
}

start(process.env["PORT"]);
