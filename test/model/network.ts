/** Nodes, and between them and the processes a network that is late, loses, doubles and reorders. */
import type { Redis } from "ioredis";
import type { Standing, WriteEntry } from "../faults/history.js";
import { RedisTwin, type Argument, type Reply } from "./twin.js";
import type { SimulatedProcess, World } from "./world.js";

/** Less than the kit's default, as all times here: only their order matters. */
export const COMMAND_TIMEOUT_MS = 150;
const CLOSED = "Connection is closed.";
const EPOCH_MS = 1_700_000_000_000;

/** How messages fare; probabilities are per message. */
export interface Weather {
  /** Ordinary delays are up to this. */
  readonly delayMs: number;
  /** How often a message takes up to `slowMs`. */
  readonly slow: number;
  readonly slowMs: number;
  readonly loseRequest: number;
  readonly loseReply: number;
  /** How often a request is executed again, at another time. */
  readonly duplicate: number;
  /** How often a process stalls in the middle of what it does, just before it sends. */
  readonly stall: number;
  readonly stallMs: number;
}

export const CALM: Weather = {
  delayMs: 5,
  slow: 0,
  slowMs: 0,
  loseRequest: 0,
  loseReply: 0,
  duplicate: 0,
  stall: 0,
  stallMs: 0,
};

export class SimulatedNode {
  readonly name: string;
  readonly twin = new RedisTwin();
  readonly writes: WriteEntry[] = [];
  isUp = true;
  busyUntil = 0;
  offsetMs = 0;
  /** How fast its clock runs. */
  rate = 1;
  /** Which life it is: what waits for it when it dies is lost. */
  #life = 0;
  readonly #world: World;

  constructor(world: World, name: string) {
    this.#world = world;
    this.name = name;
  }

  crash(): void {
    this.isUp = false;
    this.#life += 1;
    this.busyUntil = 0;
  }

  start(how: { readonly keepData: boolean }): void {
    this.isUp = true;
    this.twin.restart(how);
  }

  /** Executes as soon as it is not paused. */
  receive(verb: string, args: readonly Argument[], answer: (reply: Reply | Error) => void): void {
    if (!this.isUp) return answer(new Error(CLOSED));
    if (this.busyUntil <= this.#world.now) return answer(this.#execute(verb, args));
    const life = this.#life;
    this.#world.at(this.busyUntil - this.#world.now, () => {
      if (life === this.#life) this.receive(verb, args, answer);
      else answer(new Error(CLOSED));
    });
  }

  #execute(verb: string, args: readonly Argument[]): Reply | Error {
    const now = Math.floor(EPOCH_MS + this.#world.now * this.rate + this.offsetMs);
    const isScript = verb.startsWith("eval");
    const key = String(args[isScript ? 2 : 0] ?? "");
    const before = this.#standing(now, key);
    try {
      return this.twin.execute(now, verb, args);
    } catch (error) {
      return error as Error;
    } finally {
      const by = tokenOf(bytesOf(args[isScript ? 3 : 1]));
      const after = this.#standing(now, key);
      if (before?.kind !== after?.kind || before?.token !== after?.token) {
        this.writes.push({ at: this.#world.now, node: this.name, key, by, before, after });
      }
    }
  }

  #standing(now: number, key: string): Standing | undefined {
    const value = this.twin.peek(now, key);
    if (value === undefined) return undefined;
    return { kind: value[0] === LOCK ? "lock" : "record", token: tokenOf(value) };
  }
}

const LOCK = 0x4c;

/** Of a lock, its mark, or a record: see `stores/redis/value.ts`. */
function tokenOf(value: Buffer): string {
  if (value[0] === LOCK) {
    return value.toString("latin1", 3, 3 + Number.parseInt(value.toString("latin1", 1, 3), 36));
  }
  return value.toString("latin1", 27, 27 + (value[4] ?? 0));
}

function bytesOf(argument: Argument | undefined): Buffer {
  return Buffer.isBuffer(argument) ? argument : Buffer.from(String(argument ?? ""));
}

export class Network {
  weather = CALM;
  /** `process>node` and `node>process`: ways that nothing gets through. */
  readonly cut = new Set<string>();
  readonly injected = new Map<string, number>();
  readonly #world: World;

  constructor(world: World) {
    this.#world = world;
  }

  count(fault: string): void {
    this.injected.set(fault, (this.injected.get(fault) ?? 0) + 1);
  }

  /** One command of a process to a node, as a client with the kit's own settings sends it. */
  send(from: SimulatedProcess, to: SimulatedNode, verb: string, args: readonly Argument[]) {
    this.#stall(from);
    return new Promise<Reply>((resolve, reject) => {
      const said = `${from.name} > ${to.name}: ${verb} ${printed(args)}`;
      const timer = from.do(COMMAND_TIMEOUT_MS, "timer", () => {
        this.#world.say(() => `${said} timed out`);
        reject(new Error("Command timed out"));
      });
      const settle = (reply: Reply | Error): void => {
        timer.cancelled = true;
        if (reply instanceof Error) reject(reply);
        else resolve(reply);
      };
      const arrive = (): void => {
        to.receive(verb, args, (reply) => {
          this.#world.say(() => `${said} = ${printed([reply])}`);
          this.#reply(from, to, () => settle(reply));
        });
      };
      const leavesIn = from.now - this.#world.now;
      const copies = this.#happens("duplicate", this.weather.duplicate) ? 2 : 1;
      for (let copy = 0; copy < copies; copy += 1) {
        const delayMs = leavesIn + this.#delayMs();
        if (
          this.cut.has(`${from.host}>${to.name}`) ||
          this.#happens("request lost", this.weather.loseRequest)
        ) {
          this.#world.say(() => `${said} is lost`);
        } else this.#world.at(delayMs, arrive);
      }
    });
  }

  #reply(to: SimulatedProcess, from: SimulatedNode, settle: () => void): void {
    const isCut = this.cut.has(`${from.name}>${to.host}`);
    if (isCut || this.#happens("reply lost", this.weather.loseReply)) return;
    this.#world.agenda.add(this.#world.now + this.#delayMs(), "message", to, settle);
  }

  #stall(process: SimulatedProcess): void {
    const { stall, stallMs } = this.weather;
    if (!this.#happens("stall", stall)) return;
    const ms = this.#world.random.between(1, stallMs);
    process.pauseFor(ms);
    this.#world.say(() => `${process.name} stalls for ${ms} ms`);
  }

  #delayMs(): number {
    const { delayMs, slow, slowMs } = this.weather;
    const isSlow = this.#happens("delay", slow);
    return 0.1 + this.#world.random.fraction() * (isSlow ? slowMs : delayMs);
  }

  #happens(fault: string, probability: number): boolean {
    if (probability === 0 || !this.#world.random.chance(probability)) return false;
    this.count(fault);
    return true;
  }
}

/** What the stores use of an ioredis client. */
export function simulatedClient(
  network: Network,
  process: SimulatedProcess,
  node: SimulatedNode,
): Redis {
  const command =
    (verb: string) =>
    (...args: Argument[]): Promise<Reply> =>
      network.send(process, node, verb, args);
  const client = {
    options: { host: node.name, port: 6_379, commandTimeout: COMMAND_TIMEOUT_MS },
    isCluster: false,
    status: "ready",
    on: () => client,
    pipeline: () => {
      throw new Error("Bug! Pipelines are not simulated.");
    },
    // For the report at the start, which is not simulated either.
    call: () => Promise.reject(new Error("not simulated")),
    callBuffer: () => Promise.reject(new Error("not simulated")),
    getBuffer: command("get"),
    setBuffer: command("set"),
    delBuffer: command("del"),
    evalBuffer: command("eval"),
    evalshaBuffer: command("evalsha"),
    pingBuffer: command("ping"),
  };
  return client as unknown as Redis;
}

/** For the trace: short, and on one line. */
function printed(args: readonly (Argument | null | Error)[]): string {
  return args
    .map((it) => {
      if (it instanceof Error) return it.message;
      const text = Buffer.isBuffer(it) ? it.toString("latin1") : String(it);
      return JSON.stringify(text.length > 48 ? `${text.slice(0, 46)}…` : text).slice(1, -1);
    })
    .join(" ");
}
