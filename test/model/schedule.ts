/** One schedule: a few clients, one or two keys, faults by seed, and the judgement of its history. */
import { subscribe } from "node:diagnostics_channel";
import { EVENT_CHANNEL, type IdempotencyEvent } from "../../src/events.js";
import {
  checkHistory,
  type EventEntry,
  type RequestEntry,
  type Violation,
} from "../faults/history.js";
import { drawBlows, drawWeather } from "./faults.js";
import { Fleet } from "./fleet.js";
import { CALM, Network, SimulatedNode } from "./network.js";
import {
  LEASE_MS,
  MAX_HANDLING_MS,
  MAX_WAIT_MS,
  STORE_TIMEOUT_MS,
  TTL_MS,
  type Answer,
  type Work,
} from "./server.js";
import { STORES, type StoreKind } from "./stores.js";
import { currentProcess, World } from "./world.js";

/** When clients and faults begin: the quorum has stood for more than a minute, so that an empty node is no founder. */
const START_MS = 70_000;
/** How long faults go on. */
const STORM_MS = 5_000;
const CALM_FROM = START_MS + STORM_MS;
/** When the last execution, offer and late message of the storm is over as well. */
const QUIET_FROM = CALM_FROM + MAX_WAIT_MS + MAX_HANDLING_MS + 2.5 * LEASE_MS + 2_000;
/** Longer than leases are renewed, and than anybody waits. */
const LONGEST_WORK_MS = MAX_HANDLING_MS + LEASE_MS;
/** How often one node of a quorum was down when it was founded. */
const LATE_NODE = 0.1;
/** Beyond a lease: nodes that were down are looked for again, and clocks differ. */
const MARGIN_MS = 1_500;
const LAST_RETRY_MS = 400;
const LAST_RETRIES = 2;
/** What the store may take of a request, besides handler, waits and pauses: claim, renewal, commit, and timers. */
const OVERHEAD_MS = 4 * STORE_TIMEOUT_MS;

export interface ScheduleOptions {
  readonly store: string;
  /** Whether nodes may come back without their data. */
  readonly amnesia?: boolean | undefined;
  /** How long nodes of a quorum abstain that did: default as the kit's. */
  readonly quarantineMs?: number | undefined;
  readonly trace?: ((line: string) => void) | undefined;
}

export interface ScheduleReport {
  readonly violations: readonly Violation[];
  readonly requests: number;
  readonly executions: number;
  /** Answers that carried a result. */
  readonly results: number;
  /** Keys that only an operator can decide (DESIGN, section 5). */
  readonly wedged: number;
  readonly faults: ReadonlyMap<string, number>;
  readonly steps: number;
}

interface Client {
  readonly name: string;
  readonly key: string;
  readonly fingerprint: string;
}

export async function runSchedule(seed: number, options: ScheduleOptions): Promise<ScheduleReport> {
  const kind = STORES[options.store];
  if (kind === undefined) throw new Error(`No such store: ${options.store}.`);
  return await new Schedule(seed, kind, options).run();
}

const eventsOf = new WeakMap<World, EventEntry[]>();

/** For a whole thread, once. */
export function observeKit(): void {
  subscribe(EVENT_CHANNEL, (message) => {
    const process = currentProcess();
    if (process === undefined) return;
    const { type, key, ...rest } = message as IdempotencyEvent;
    const reason = "reason" in rest ? rest.reason : undefined;
    process.world.say(() => `${process.name} says ${type} of ${key} ${reason ?? ""}`);
    eventsOf
      .get(process.world)
      ?.push({ at: process.now, process: process.name, key, type, reason });
  });
}

class Schedule {
  readonly #world: World;
  readonly #network: Network;
  readonly #nodes: readonly SimulatedNode[];
  readonly #fleet: Fleet;
  readonly #kind: StoreKind;
  readonly #amnesia: boolean;
  readonly #abstains: boolean;
  readonly #requests: RequestEntry[] = [];
  readonly #events: EventEntry[] = [];
  readonly #wedged = new Set<string>();
  #sent = 0;
  #marginMs = MARGIN_MS;

  constructor(seed: number, kind: StoreKind, options: ScheduleOptions) {
    const { amnesia = false, quarantineMs, trace } = options;
    this.#kind = kind;
    this.#amnesia = amnesia;
    this.#abstains = kind.nodes > 1 && quarantineMs !== 0;
    this.#world = new World(seed, trace);
    this.#network = new Network(this.#world);
    const { random } = this.#world;
    this.#nodes = Array.from({ length: kind.nodes }, (_, node) => {
      return new SimulatedNode(this.#world, `n${node + 1}`);
    });
    const onConflict = random.pick(["reject", "wait"] as const);
    if (kind.nodes > 1 && random.chance(LATE_NODE)) {
      this.#comeLate(random.pick(this.#forgetful));
    }
    this.#fleet = new Fleet(this.#world, kind, this.#network, this.#nodes, {
      onConflict,
      quarantineMs,
    });
    eventsOf.set(this.#world, this.#events);
  }

  async run(): Promise<ScheduleReport> {
    let leasesHold = true;
    this.#world.at(START_MS, () => {
      leasesHold = this.#storm();
    });
    await this.#world.run();
    return this.#judge(leasesHold);
  }

  /**
   * Fewer than half: where more are empty at once, and the others out of reach, who starts then takes them for a new
   * quorum. Nodes are alike, so that the first will do.
   */
  get #forgetful(): readonly SimulatedNode[] {
    return this.#nodes.slice(0, Math.floor(this.#nodes.length / 2));
  }

  /** Half of the nodes that are missed at the founding come within the minute in which nobody wonders. */
  #comeLate(node: SimulatedNode): void {
    const { random } = this.#world;
    const isInTime = random.chance(0.5);
    node.crash();
    this.#world.at(isInTime ? START_MS / 4 : START_MS + random.below(STORM_MS), () => {
      if (node.isUp) return;
      this.#world.say(() => `${node.name} comes for the first time`);
      node.start();
    });
  }

  /** Tells whether no node's lease can have ended early. */
  #storm(): boolean {
    const { random } = this.#world;
    this.#network.weather = drawWeather(random, LEASE_MS);
    const { leasesHold, delayMs } = drawBlows(
      this.#world,
      this.#network,
      this.#nodes,
      this.#fleet,
      {
        untilMs: STORM_MS,
        leaseMs: LEASE_MS,
        mortal: this.#kind.mortal,
        forgetful: this.#amnesia ? this.#forgetful : [],
        forgetfulVote: !this.#abstains,
      },
    );
    this.#marginMs += delayMs;
    const clients = this.#clients();
    for (const client of clients) this.#startClient(client);
    this.#world.at(STORM_MS, () => {
      this.#world.say(() => "calm");
      this.#network.weather = CALM;
    });
    this.#world.at(QUIET_FROM - START_MS, () => this.#lastRetries(clients));
    return leasesHold;
  }

  #clients(): Client[] {
    const { random } = this.#world;
    const keys = random.pick([["k1"], ["k1"], ["k1", "k2"]]);
    return Array.from({ length: random.between(2, 4) }, (_, client) => ({
      name: `c${client + 1}`,
      key: random.pick(keys),
      fingerprint: random.chance(0.1) ? "other" : "same",
    }));
  }

  /** Sends, and retries like a real client: until it has a result, or is told not to. */
  #startClient(client: Client): void {
    const { random } = this.#world;
    // Half of all schedules begin with a race.
    const from = random.chance(0.5) ? 0 : random.below(STORM_MS / 2);
    let left = random.between(2, 6);
    const attempt = (): void => {
      left -= 1;
      const giveUpMs = random.chance(0.2) ? random.between(5, 1_500) : undefined;
      this.#send(client, this.#work(), giveUpMs, ({ outcome }) => {
        if (left === 0 || isFinal(outcome)) return;
        const inMs = random.between(5, random.pick([50, 300, 1_500]));
        if (this.#world.now + inMs < CALM_FROM) this.#world.at(inMs, attempt);
      });
    };
    this.#world.at(from + random.fraction(), attempt);
  }

  #work(): Work {
    const { random } = this.#world;
    const takesMs = random.below(random.pick([5, 100, 800, 2_000, LONGEST_WORK_MS]));
    const ends = random.chance(0.75)
      ? "result"
      : random.pick(["tombstone", "not-to-store", "throws"] as const);
    return { takesMs, ends };
  }

  /** Every client asks once more; a lease and a margin later, everyone must know. */
  #lastRetries(clients: readonly Client[]): void {
    const asked = new Map(clients.map((client) => [`${client.key} ${client.fingerprint}`, client]));
    const freeFrom = QUIET_FROM + LEASE_MS + this.#marginMs;
    for (const client of asked.values()) {
      let late = 0;
      const attempt = (): void => {
        if (this.#world.now > freeFrom) late += 1;
        this.#send(client, { takesMs: 5, ends: "result" }, undefined, ({ outcome, isWedged }) => {
          if (isWedged === true) this.#wedged.add(client.key);
          else if (!isFinal(outcome) && late < LAST_RETRIES) this.#world.at(LAST_RETRY_MS, attempt);
        });
      };
      attempt();
    }
  }

  #send(
    { name, key, fingerprint }: Client,
    work: Work,
    giveUpMs: number | undefined,
    onEnd: (answer: Answer) => void,
  ): void {
    const { random } = this.#world;
    this.#sent += 1;
    const id = `${name}-${this.#sent}`;
    const server = this.#fleet.server(random.below(this.#fleet.size));
    const { process } = server;
    const invokedAt = this.#world.now;
    const pausedBefore = process.pausedMs;
    const ownPauseMs = Math.max(0, process.busyUntil - invokedAt);
    this.#world.say(() => `${id} sends ${key} (${fingerprint}) to ${process.name}: ${work.ends}`);
    let isOpen = true;
    const end = (answer: Answer, now: number): void => {
      if (!isOpen) return;
      isOpen = false;
      const { outcome } = answer;
      this.#world.say(() => `${id} gets ${outcome} ${answer.answer ?? ""}`);
      const pausedMs = ownPauseMs + process.pausedMs - pausedBefore;
      const handlerMs = answer.ran === false ? 0 : work.takesMs;
      const deadlineMs = handlerMs + MAX_WAIT_MS + OVERHEAD_MS + pausedMs;
      this.#requests.push({
        id,
        key,
        fingerprint,
        invokedAt,
        completedAt: now,
        outcome: answer.isWedged === true ? "refused" : outcome,
        answer: answer.answer,
        deadlineMs,
      });
      this.#world.at(now - this.#world.now, () => onEnd(answer));
    };
    const unknown: Answer = { outcome: "unknown" };
    const isLost = random.chance(this.#network.weather.loseReply);
    server.receive(
      random.fraction() * this.#network.weather.delayMs,
      { key, fingerprint, requestedAt: invokedAt, work },
      (answer) => end(isLost ? unknown : answer, process.now),
      () => end(unknown, this.#world.now),
    );
    if (giveUpMs !== undefined) this.#world.at(giveUpMs, () => end(unknown, this.#world.now));
  }

  #judge(leasesHold: boolean): ScheduleReport {
    const { executions } = this.#fleet;
    const history = {
      requests: this.#requests,
      executions,
      events: this.#events,
      writes: this.#nodes.flatMap(({ writes }) => writes),
    };
    const found = checkHistory(history, {
      leaseMs: LEASE_MS,
      ttlMs: TTL_MS,
      endedAt: this.#world.now,
      quietFrom: QUIET_FROM,
      marginMs: this.#marginMs,
      leasesHold,
    });
    return {
      violations: [...found, ...this.#unanswered()],
      requests: this.#requests.length,
      executions: executions.length,
      results: this.#requests.filter(({ outcome }) => RESULTS.has(outcome)).length,
      wedged: this.#wedged.size,
      faults: this.#network.injected,
      steps: this.#world.steps,
    };
  }

  /** Nothing happens any more, so whoever still waits waits for ever. */
  *#unanswered(): Iterable<Violation> {
    for (let server = 0; server < this.#fleet.size; server += 1) {
      const { waiting, process } = this.#fleet.server(server);
      if (waiting === 0) continue;
      yield {
        promise: "P7",
        key: "",
        says: `${waiting} requests to ${process.name} were never answered`,
      };
    }
  }
}

const RESULTS: ReadonlySet<string> = new Set(["executed", "replayed"]);
const FINAL: ReadonlySet<string> = new Set([...RESULTS, "mismatch", "processed"]);

function isFinal(outcome: string): boolean {
  return FINAL.has(outcome);
}
