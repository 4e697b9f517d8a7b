/** The server processes of a campaign: each in its place, life after life. */
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { launch, type ServerProcess } from "../../../infra/services/process.js";
import type { FaultProxy } from "../../support/fault-proxy.js";
import { TABLE_NAME, type Access } from "./arena.js";
import { readJournal, type JournalEntry } from "./journal.js";
import { asEnvironment, type ServerSettings } from "./settings.js";
import { standStill } from "./stand-still.js";
import { now } from "./time.js";

/** A process that died at a stage of a request is noticed and started again within this time. */
const WATCH_MS = 50;

/** From one life of a server, until that ended or until now. */
export interface Life {
  readonly name: string;
  readonly place: number;
  readonly journal: string;
  diedAt: number | undefined;
}

interface Disturbance {
  readonly place: number;
  readonly from: number;
  to: number;
}

export interface FleetOptions {
  /** The server's file. */
  readonly server: string;
  readonly folder: string;
  readonly accesses: readonly Access[];
  readonly settings: Pick<ServerSettings, "store" | "maxEntries" | "leaseMs" | "ttlMs">;
}

const LISTENS = /^Listening on (\d+)\.$/m;

export class Fleet {
  readonly #options: FleetOptions;
  readonly #running: (ServerProcess | undefined)[] = [];
  readonly #ports: (number | undefined)[] = [];
  readonly #disturbances: Disturbance[] = [];
  readonly #lives: Life[] = [];
  #watching: Promise<void> | undefined;
  #isOver = false;
  /** Processes that ended, and nobody had killed them. */
  readonly crashes: string[] = [];

  constructor(options: FleetOptions) {
    this.#options = options;
  }

  get places(): number {
    return this.#options.accesses.length;
  }

  links(place: number): readonly FaultProxy[] {
    return this.#options.accesses[place]?.links ?? [];
  }

  /** Nobody listens there while it is undefined. */
  port(place: number): number | undefined {
    return this.#ports[place];
  }

  async start(): Promise<void> {
    await Promise.all(this.#options.accesses.map((_, place) => this.#launch(place)));
    this.#watching = this.#watch();
  }

  /** SIGKILL; the place is empty for some time. */
  async kill(place: number, forMs: number): Promise<void> {
    const life = this.#lifeAt(place);
    const running = this.#running[place];
    // Dead, and about to be started again by somebody else.
    if (running === undefined) return;
    const ended = this.#disturb(place);
    this.#running[place] = undefined;
    this.#ports[place] = undefined;
    await running.kill();
    if (life !== undefined) life.diedAt ??= now();
    await sleep(forMs);
    await this.#launch(place);
    ended();
  }

  /** SIGSTOP, and after some time SIGCONT. */
  async pause(place: number, forMs: number): Promise<void> {
    const ended = this.#disturb(place);
    const paused = this.#running[place];
    if (paused !== undefined) await standStill(paused, forMs);
    ended();
  }

  /** Asks a process; nothing where it does not answer. */
  async ask(place: number, method: "GET" | "PUT", path: string): Promise<string | undefined> {
    const port = this.#ports[place];
    if (port === undefined) return undefined;
    const signal = AbortSignal.timeout(2_000);
    const answer = await fetch(`http://127.0.0.1:${port}${path}`, { method, signal }).catch(
      () => undefined,
    );
    return await answer?.text();
  }

  /** Whether a process was paused or dead at a time between the two. */
  wasDisturbed(place: number, from: number, to: number): boolean {
    return this.#disturbances.some(
      (one) => one.place === place && one.from <= to && one.to >= from,
    );
  }

  /** All lives so far with what they wrote down. Freezes at stages count as disturbances from here on. */
  journals(): (Life & { readonly entries: readonly JournalEntry[] })[] {
    return this.#lives.map((life) => {
      const entries = readJournal(life.journal);
      for (const entry of entries) {
        const { place } = life;
        if (entry.type !== "freezes") continue;
        this.#disturbances.push({ place, from: entry.at, to: entry.at + entry.forMs });
      }
      return { ...life, entries };
    });
  }

  async close(): Promise<void> {
    this.#isOver = true;
    await this.#watching;
    await Promise.all(
      this.#running.map(async (running) => {
        running?.resume();
        await running?.kill();
      }),
    );
    const links = this.#options.accesses.flatMap((access) => access.links);
    await Promise.all(links.map((link) => link.close()));
  }

  async #launch(place: number): Promise<void> {
    const { accesses, server, folder, settings } = this.#options;
    const access = accesses[place];
    if (this.#isOver || access === undefined) return;
    const life = this.#lives.filter((one) => one.place === place).length + 1;
    const name = `${"ABCDEFGH".charAt(place)}${life}`;
    const journal = join(folder, `${name}.jsonl`);
    const env = asEnvironment({
      ...settings,
      urls: access.urls,
      ports: access.ports,
      journal,
      tableName: TABLE_NAME,
      maxHandlingMs: 60_000,
      maxResponseBytes: 16 * 1_024,
      // Every second one lets duplicates wait.
      onConflict: place % 2 === 0 ? "reject" : "wait",
      maxWaitMs: 1_500,
    });
    const command = process.execPath;
    const running = await launch({ command, args: [server], readyWhen: LISTENS, env });
    this.#lives.push({ name, place, journal, diedAt: undefined });
    this.#running[place] = running;
    this.#ports[place] = Number(LISTENS.exec(running.output())?.[1]);
  }

  async #watch(): Promise<void> {
    while (!this.#isOver) {
      await sleep(WATCH_MS);
      const dead = this.#running.flatMap((it, place) => (it?.running === false ? [place] : []));
      await Promise.all(dead.map((place) => this.#revive(place)));
    }
  }

  async #revive(place: number): Promise<void> {
    const dead = this.#running[place];
    const life = this.#lifeAt(place);
    if (dead === undefined || life === undefined) return;
    this.#running[place] = undefined;
    this.#ports[place] = undefined;
    const last = readJournal(life.journal).at(-1);
    if (last?.type !== "dies") this.crashes.push(`${life.name} ended:\n${dead.output()}`);
    life.diedAt = last?.type === "dies" ? last.at : now();
    const ended = this.#disturb(place, life.diedAt);
    await this.#launch(place);
    ended();
  }

  #lifeAt(place: number): Life | undefined {
    return this.#lives.findLast((life) => life.place === place);
  }

  #disturb(place: number, from = now()): () => void {
    const disturbance = { place, from, to: Number.POSITIVE_INFINITY };
    this.#disturbances.push(disturbance);
    return () => {
      disturbance.to = now();
    };
  }
}
