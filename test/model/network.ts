/** Nodes, and between them and the processes a network that is late, loses, doubles and reorders. */
import type { Standing, WriteEntry } from "../faults/history.js";
import { RedisTwin, type Argument, type Reply } from "./twin.js";
import type { SimulatedProcess, World } from "./world.js";

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
  /** Whom to tell when it dies. */
  readonly connections = new Set<Connection>();
  isUp = true;
  busyUntil = 0;
  offsetMs = 0;
  /** Which life it is: a connection is to one of them. */
  life = 1;
  readonly #world: World;

  constructor(world: World, name: string) {
    this.#world = world;
    this.name = name;
  }

  crash(): void {
    this.isUp = false;
    this.life += 1;
    this.busyUntil = 0;
    this.twin.restart({ keepData: true });
    for (const connection of this.connections) connection.reset();
    this.connections.clear();
  }

  start(): void {
    this.isUp = true;
  }

  /** Takes its data away, while it is down. */
  wipe(): void {
    this.twin.restart({ keepData: false });
  }

  /** Executes as soon as it is not paused; what was sent to another life of it is refused. */
  receive(
    life: number,
    verb: string,
    args: readonly Argument[],
    answer: (reply: Reply | Error | "reset") => void,
  ): void {
    if (!this.isUp || life !== this.life) return answer("reset");
    if (this.busyUntil <= this.#world.now) return answer(this.#execute(verb, args));
    this.#world.at(this.busyUntil - this.#world.now, () => {
      this.receive(life, verb, args, answer);
    });
  }

  #execute(verb: string, args: readonly Argument[]): Reply | Error {
    const now = Math.floor(EPOCH_MS + this.#world.now + this.offsetMs);
    const isScript = verb.startsWith("eval");
    const key = String(args[isScript ? 2 : 0] ?? "");
    // The marker, or none.
    if (key === "" || key.includes(" ")) return this.twin.execute(now, verb, args);
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

/** Of a process to one life of a node: when that is over, so is the connection, with all that was on its way. */
export class Connection {
  readonly from: SimulatedProcess;
  readonly to: SimulatedNode;
  readonly life: number;
  /** Runs in the process, once it hears that the node is gone. */
  onReset = (): void => {};
  readonly #network: Network;

  constructor(network: Network, from: SimulatedProcess, to: SimulatedNode, life: number) {
    this.#network = network;
    this.from = from;
    this.to = to;
    this.life = life;
    to.connections.add(this);
  }

  /** By the node, which is gone, or the machine where it was. */
  reset(): void {
    this.#network.reset(this);
  }

  close(): void {
    this.to.connections.delete(this);
  }
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

  /** Opens a connection to a node, where it is up and not paused; `undefined` where it refuses. May never answer. */
  connect(
    from: SimulatedProcess,
    to: SimulatedNode,
    answer: (connection: Connection | undefined) => void,
  ): void {
    const arrive = (): void => {
      const { life } = to;
      to.receive(life, "ping", [], (reply) => {
        if (reply === "reset") return this.#reply(from, to, () => answer(undefined));
        const connection = new Connection(this, from, to, life);
        this.#reply(from, to, () => answer(connection));
      });
    };
    this.#deliver(from, to, () => `${from.name} connects to ${to.name}`, arrive);
  }

  /** One command on a connection; what answers may be late, twice, or never. */
  request(
    connection: Connection,
    verb: string,
    args: readonly Argument[],
    answer: (reply: Reply | Error) => void,
  ): void {
    const { from, to, life } = connection;
    const said = (): string => `${from.name} > ${to.name}: ${verb} ${printed(args)}`;
    const arrive = (): void => {
      to.receive(life, verb, args, (reply) => {
        this.#world.say(() => `${said()} = ${printed([reply])}`);
        if (reply === "reset") connection.reset();
        else this.#reply(from, to, () => answer(reply));
      });
    };
    this.#deliver(from, to, said, arrive);
    if (this.#happens("duplicate", this.weather.duplicate)) this.#deliver(from, to, said, arrive);
  }

  /** From a node, which does not know whether it arrives. */
  #reply(to: SimulatedProcess, from: SimulatedNode, arrive: () => void): void {
    const isCut = this.cut.has(`${from.name}>${to.host}`);
    if (isCut || this.#happens("reply lost", this.weather.loseReply)) return;
    this.#world.agenda.add(this.#world.now + this.#delayMs(), "message", to, arrive);
  }

  reset({ from, to, onReset }: Connection): void {
    this.#reply(from, to, () => onReset());
  }

  #deliver(
    from: SimulatedProcess,
    to: SimulatedNode,
    said: () => string,
    arrive: () => void,
  ): void {
    const leavesIn = from.now - this.#world.now;
    const delayMs = leavesIn + this.#delayMs();
    const isCut = this.cut.has(`${from.host}>${to.name}`);
    if (isCut || this.#happens("request lost", this.weather.loseRequest)) {
      this.#world.say(() => `${said()} is lost`);
    } else this.#world.at(delayMs, arrive);
  }

  /** In the middle of what a process does, just before it sends. */
  stall(process: SimulatedProcess): void {
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
