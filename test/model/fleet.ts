/** The servers of a schedule: each a process that may die and come back as another. */
import type { ProtocolOptions } from "../../src/idempotency/options.js";
import type { ExecutionEntry } from "../faults/history.js";
import type { Network, SimulatedNode } from "./network.js";
import { SimulatedServer } from "./server.js";
import type { StoreKind, StoreOptions } from "./stores.js";
import { SimulatedProcess, type World } from "./world.js";

export class Fleet {
  readonly executions: ExecutionEntry[] = [];
  readonly #world: World;
  readonly #start: (process: SimulatedProcess) => SimulatedServer;
  readonly #servers: SimulatedServer[];
  #lives = 0;

  constructor(
    world: World,
    kind: StoreKind,
    network: Network,
    nodes: readonly SimulatedNode[],
    options: StoreOptions & Pick<ProtocolOptions, "onConflict">,
  ) {
    this.#world = world;
    this.#start = (process) =>
      new SimulatedServer(
        process,
        () => kind.open(network, process, nodes, options),
        options.onConflict,
        this.executions,
      );
    this.#servers = Array.from({ length: kind.servers }, (_, server) => this.#life(server));
  }

  get size(): number {
    return this.#servers.length;
  }

  host(server: number): string {
    return `p${server + 1}`;
  }

  server(server: number): SimulatedServer {
    return this.#servers[server] as SimulatedServer;
  }

  pause(server: number, ms: number): void {
    this.#process(server).pauseFor(ms);
  }

  kill(server: number): void {
    this.server(server).die();
  }

  start(server: number): void {
    if (!this.#process(server).isAlive) this.#servers[server] = this.#life(server);
  }

  stepClock(server: number, ms: number): void {
    this.#process(server).wallOffsetMs += ms;
  }

  #process(server: number): SimulatedProcess {
    return this.server(server).process;
  }

  #life(server: number): SimulatedServer {
    this.#lives += 1;
    return this.#start(new SimulatedProcess(this.#world, this.host(server), this.#lives));
  }
}
