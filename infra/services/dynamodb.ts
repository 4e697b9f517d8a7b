/** DynamoDB Local on a free loopback port, with everything a fault test does to it. */
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { dynamodbLocal } from "./dynamodb-download.js";
import { java } from "./install.js";
import { freePort } from "./ports.js";
import { launch, type ServerProcess } from "./process.js";

export interface DynamodbLocal {
  readonly port: number;
  /** For the clients' `endpoint`; they need some region and some credentials, which are not checked. */
  readonly url: string;
  /** SIGSTOP: connections stay open, nothing is answered. */
  stop(): Promise<void>;
  /** SIGCONT: whatever lies in its socket buffers is executed now. */
  resume(): void;
  /** Kills it; it keeps nothing. */
  close(): Promise<void>;
}

/** Ports are picked at random and bound a moment later; another process may be faster, but not ten times. */
const MAX_PORT_TRIES = 10;

/** Printed a moment before it listens; a port that is taken ends it after that. */
const STARTING = /^CorsParams:/m;

const START_TIMEOUT_MS = 60_000;
const POLL_MS = 50;

/**
 * Starts it with empty memory, in two to three seconds. It listens on all interfaces and has no option for that: keep
 * to made-up data.
 */
export async function startDynamodb(): Promise<DynamodbLocal> {
  const [command, folder] = await Promise.all([java(), dynamodbLocal()]);
  for (let tries = 1; ; tries += 1) {
    const port = await freePort();
    const server = await launch({
      command,
      args: [
        // One collector thread and no optimising compiler: it starts in half the time.
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        "-jar",
        join(folder, "DynamoDBLocal.jar"),
        "-inMemory",
        // One database for all credentials and regions.
        "-sharedDb",
        "-disableTelemetry",
        "-port",
        `${port}`,
      ],
      // It leaves a file with an id of its installation.
      cwd: folder,
      readyWhen: STARTING,
      startTimeoutMs: START_TIMEOUT_MS,
    });
    if (await answers(server, port)) return handleOf(server, port);
    await server.kill();
    const taken = server.output().includes("Address already in use");
    if (!taken || tries === MAX_PORT_TRIES) {
      throw new Error(`DynamoDB Local did not start; its last output:\n${server.output()}`);
    }
  }
}

/** Anything it says will do; to a request without a body that is 400. */
async function answers(server: ServerProcess, port: number): Promise<boolean> {
  const deadline = performance.now() + START_TIMEOUT_MS;
  while (server.running && performance.now() < deadline) {
    const answer = await fetch(`http://127.0.0.1:${port}/`).catch(() => undefined);
    // Not somebody else's server that was faster to take the port.
    if (answer?.headers.has("x-amzn-requestid") === true) return true;
    await delay(POLL_MS);
  }
  return false;
}

function handleOf(server: ServerProcess, port: number): DynamodbLocal {
  return {
    port,
    url: `http://127.0.0.1:${port}`,
    stop: () => server.stop(),
    resume: () => {
      server.resume();
    },
    close: async () => {
      server.resume();
      await server.kill();
    },
  };
}
