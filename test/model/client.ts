/** What the stores use of an ioredis client, with the kit's own settings: a connection that breaks, and the next one. */
import { EventEmitter } from "node:events";
import type { Redis } from "ioredis";
import type { Connection, Network, SimulatedNode } from "./network.js";
import type { Argument, Reply } from "./twin.js";
import type { SimulatedProcess } from "./world.js";

/** Less than the kit's defaults, as all times here: only their order matters. */
const COMMAND_TIMEOUT_MS = 150;
const SOCKET_TIMEOUT_MS = COMMAND_TIMEOUT_MS;
const CONNECT_TIMEOUT_MS = 600;
const FIRST_RETRY_MS = 15;
/** Not less: nodes may be down for a minute. */
const LONGEST_RETRY_MS = 1_000;

type Timer = ReturnType<SimulatedProcess["do"]>;

interface Waiting {
  readonly settle: (reply: Reply | Error) => void;
}

class SimulatedClient extends EventEmitter {
  readonly isCluster = false;
  readonly options: object;
  status: "connecting" | "ready" | "reconnecting" = "connecting";
  readonly getBuffer = this.#verb("get");
  readonly setBuffer = this.#verb("set");
  readonly delBuffer = this.#verb("del");
  readonly evalBuffer = this.#verb("eval");
  readonly evalshaBuffer = this.#verb("evalsha");
  readonly pingBuffer = this.#verb("ping");
  readonly #network: Network;
  readonly #process: SimulatedProcess;
  readonly #node: SimulatedNode;
  #connection: Connection | undefined;
  /** What was not answered yet; a command that timed out is still among them, as its reply may come. */
  readonly #waiting = new Set<Waiting>();
  #silence: Timer | undefined;
  #attempts = 0;

  constructor(network: Network, process: SimulatedProcess, node: SimulatedNode) {
    super();
    this.#network = network;
    this.#process = process;
    this.#node = node;
    this.options = { host: node.name, port: 6_379, commandTimeout: COMMAND_TIMEOUT_MS };
    this.setMaxListeners(0);
    this.#connect();
  }

  /** As text, like the methods without `Buffer`. */
  async set(...args: Argument[]): Promise<string | null> {
    return textOf(await this.setBuffer(...args));
  }

  /** Of reads only: nothing else that the stores do is sent so, as long as they ask for no replicas. */
  pipeline(): object {
    const replies: Promise<[Error | null, unknown]>[] = [];
    const pipeline = {
      get: (key: string) => {
        const reply = this.getBuffer(key).then(textOf);
        replies.push(
          reply.then(
            (text) => [null, text],
            (error: Error) => [error, undefined],
          ),
        );
        return pipeline;
      },
      exec: () => Promise.all(replies),
    };
    return pipeline;
  }

  /** For the report at the start, which is not simulated. */
  call(): Promise<never> {
    return Promise.reject(new Error("not simulated"));
  }

  callBuffer(): Promise<never> {
    return this.call();
  }

  #verb(verb: string): (...args: Argument[]) => Promise<Reply> {
    return (...args) => this.#send(verb, args);
  }

  #send(verb: string, args: readonly Argument[]): Promise<Reply> {
    const connection = this.#connection;
    if (connection === undefined) return Promise.reject(new Error("Stream isn't writeable"));
    this.#network.stall(this.#process);
    return new Promise((resolve, reject) => {
      const timer = this.#process.do(COMMAND_TIMEOUT_MS, "timer", () => {
        reject(new Error("Command timed out"));
      });
      const waiting: Waiting = {
        settle: (reply) => {
          timer.cancelled = true;
          this.#waiting.delete(waiting);
          if (reply instanceof Error) reject(reply);
          else resolve(reply);
        },
      };
      this.#waiting.add(waiting);
      if (this.#silence === undefined) this.#listen();
      this.#network.request(connection, verb, args, (reply) => {
        if (this.#connection !== connection) return;
        this.#listen();
        waiting.settle(reply);
        if (this.#waiting.size === 0) this.#stopListening();
      });
    });
  }

  /** Nothing comes any more: the connection is given up, as it would be for a lost packet that nobody sends again. */
  #listen(): void {
    this.#stopListening();
    this.#silence = this.#process.do(SOCKET_TIMEOUT_MS, "timer", () => this.#close());
  }

  #stopListening(): void {
    if (this.#silence !== undefined) this.#silence.cancelled = true;
    this.#silence = undefined;
  }

  #connect(): void {
    this.status = "connecting";
    let isOver = false;
    const timer = this.#process.do(CONNECT_TIMEOUT_MS, "timer", () => {
      isOver = true;
      this.#retry();
    });
    this.#network.connect(this.#process, this.#node, (connection) => {
      if (isOver) return connection?.close();
      isOver = true;
      timer.cancelled = true;
      if (connection === undefined) return this.#retry();
      this.#attempts = 0;
      this.#connection = connection;
      connection.onReset = () => {
        if (this.#connection === connection) this.#close();
      };
      this.status = "ready";
      this.emit("ready");
    });
  }

  #close(): void {
    this.#stopListening();
    this.#connection?.close();
    this.#connection = undefined;
    this.#retry();
    for (const { settle } of this.#waiting) settle(new Error("Connection is closed."));
  }

  #retry(): void {
    this.status = "reconnecting";
    this.emit("close");
    this.#attempts += 1;
    const delayMs = Math.min(FIRST_RETRY_MS * 2 ** (this.#attempts - 1), LONGEST_RETRY_MS);
    const jitter = 1 - this.#process.world.random.fraction() / 2;
    this.#process.do(delayMs * jitter, "timer", () => this.#connect());
  }
}

export function simulatedClient(
  network: Network,
  process: SimulatedProcess,
  node: SimulatedNode,
): Redis {
  return new SimulatedClient(network, process, node) as unknown as Redis;
}

function textOf(reply: Reply): string | null {
  return reply === null ? null : String(reply);
}
