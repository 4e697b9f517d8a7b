/**
 * A world in one thread: virtual time, processes that can stop, stall and die, and nothing left to chance but the seed. The
 * kit's own code runs in it unchanged, because the clocks, timers and random numbers that it asks for are the world's while
 * one of its processes runs, and Node's otherwise.
 */
import crypto from "node:crypto";
import { syncBuiltinESMExports } from "node:module";
import timers from "node:timers/promises";
import { Agenda, type Item, type Phase } from "./agenda.js";
import { Random } from "./random.js";

/** Where wall clocks start: any moment will do. */
const EPOCH_MS = 1_800_000_000_000;
/** A schedule that does not end is a bug of kit or world. */
const MOST_STEPS = 200_000;

/** One life of a process. */
export class SimulatedProcess {
  /** Which machine, as the network knows it. */
  readonly host: string;
  /** Which machine and life. */
  readonly name: string;
  readonly world: World;
  isAlive = true;
  /** Until when it does nothing: a pause, or a stall in the middle of what it does. */
  busyUntil = 0;
  /** How far its wall clock is off. */
  wallOffsetMs = 0;
  /** How long it did nothing, all in all. */
  pausedMs = 0;

  constructor(world: World, host: string, life: number) {
    this.world = world;
    this.host = host;
    this.name = `${host}.${life}`;
  }

  get now(): number {
    return Math.max(this.world.now, this.busyUntil);
  }

  get wallNow(): number {
    return Math.floor(EPOCH_MS + this.now + this.wallOffsetMs);
  }

  pauseFor(ms: number): void {
    this.busyUntil = this.now + ms;
    this.pausedMs += ms;
  }

  do(delayMs: number, phase: Phase, run: () => void): Item<SimulatedProcess | undefined> {
    return this.world.agenda.add(this.now + delayMs, phase, this, run);
  }
}

export class World {
  readonly random: Random;
  readonly agenda = new Agenda<SimulatedProcess | undefined>();
  readonly #trace: ((line: string) => void) | undefined;
  now = 0;
  steps = 0;

  constructor(seed: number, trace?: (line: string) => void) {
    this.random = new Random(seed);
    this.#trace = trace;
  }

  /** Runs outside of every process: networks, nodes, faults. */
  at(delayMs: number, run: () => void): void {
    this.agenda.add(this.now + delayMs, "message", undefined, run);
  }

  say(what: () => string): void {
    this.#trace?.(`${this.now.toFixed(2).padStart(10)}  ${what()}`);
  }

  /** Until nothing is to be done any more. */
  run(): Promise<void> {
    return new Promise((resolve, reject) => {
      const step = (): void => {
        current = undefined;
        try {
          for (;;) {
            const item = this.#due();
            if (item === undefined) return resolve();
            current = item.owner;
            item.run();
            if (current !== undefined) break;
          }
        } catch (error) {
          current = undefined;
          return reject(error);
        }
        // The process's promises and ticks run before anything else happens.
        real.setImmediate(step);
      };
      step();
    });
  }

  #due(): Item<SimulatedProcess | undefined> | undefined {
    for (;;) {
      const item = this.agenda.next();
      if (item === undefined) return undefined;
      const { owner } = item;
      if (item.cancelled || owner?.isAlive === false) continue;
      if (owner !== undefined && owner.busyUntil > item.at) {
        item.at = owner.busyUntil;
        this.agenda.put(item);
        continue;
      }
      this.now = item.at;
      this.steps += 1;
      if (this.steps > MOST_STEPS) throw new Error(`Bug! More than ${MOST_STEPS} steps.`);
      return item;
    }
  }
}

let current: SimulatedProcess | undefined;

/** The process that runs, for those who listen to what the kit publishes. */
export function currentProcess(): SimulatedProcess | undefined {
  return current;
}

const real = {
  setImmediate: globalThis.setImmediate,
  setTimeout: globalThis.setTimeout,
  clearTimeout: globalThis.clearTimeout,
  now: performance.now.bind(performance),
  wallNow: Date.now.bind(Date),
  random: Math.random.bind(Math),
  randomUUID: crypto.randomUUID.bind(crypto),
  randomBytes: crypto.randomBytes.bind(crypto),
};

class Timer {
  readonly #item: Item<SimulatedProcess | undefined>;

  constructor(item: Item<SimulatedProcess | undefined>) {
    this.#item = item;
  }

  cancel(): void {
    this.#item.cancelled = true;
  }

  ref(): this {
    return this;
  }

  unref(): this {
    return this;
  }
}

type Callback = (...args: unknown[]) => void;

/** For a whole thread, once. */
export function installWorlds(): void {
  const setTimeout = (run: Callback, ms = 0, ...args: unknown[]): unknown =>
    current === undefined
      ? real.setTimeout(run, ms, ...args)
      : new Timer(current.do(Math.max(1, ms), "timer", () => run(...args)));
  const setImmediate = (run: Callback, ...args: unknown[]): unknown =>
    current === undefined
      ? real.setImmediate(run, ...args)
      : new Timer(current.do(0, "immediate", () => run(...args)));
  const clearTimeout = (timer: unknown): void => {
    if (timer instanceof Timer) timer.cancel();
    else real.clearTimeout(timer as NodeJS.Timeout);
  };
  Object.assign(globalThis, { setTimeout, setImmediate, clearTimeout });
  performance.now = () => current?.now ?? real.now();
  Date.now = () => current?.wallNow ?? real.wallNow();
  Math.random = () => current?.world.random.fraction() ?? real.random();
  const randomUUID = (): string => current?.world.random.hex(32) ?? real.randomUUID();
  const randomBytes = (size: number): Buffer =>
    current === undefined
      ? real.randomBytes(size)
      : Buffer.from(current.world.random.hex(2 * size), "hex");
  Object.assign(crypto, { randomUUID, randomBytes });
  const sleep = timers.setTimeout;
  Object.assign(timers, {
    setTimeout: (ms?: number, value?: unknown, options?: object): Promise<unknown> =>
      current === undefined
        ? sleep(ms, value, options)
        : new Promise((resolve) => {
            setTimeout(() => resolve(value), ms);
          }),
  });
  // Those who import them by name get them, too.
  syncBuiltinESMExports();
}
