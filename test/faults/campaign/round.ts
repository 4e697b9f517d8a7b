/** One round: load and faults for some time, then everything heals, and every key is asked for until it has an answer. */
import { setTimeout as sleep } from "node:timers/promises";
import { storageKey } from "../../../src/key.js";
import { checkHistory, type History, type HistoryOptions, type Violation } from "../history.js";
import { accountOf } from "./account.js";
import { startArena, type Arena } from "./arena.js";
import { openWorkplace, type Workplace } from "./bundle.js";
import { Clients, clientsOf, isSettled, type Client, type Sent } from "./clients.js";
import { Fleet } from "./fleet.js";
import { inject } from "./inject.js";
import { planFaults, type Fault, type FaultKind } from "./plan.js";
import { between, oneOf, randomFrom, type Random } from "./random.js";
import { now } from "./time.js";

export interface RoundOptions {
  readonly store: string;
  readonly seed: number;
  readonly round: number;
  readonly kinds: readonly FaultKind[];
  /** For how long there are faults and new keys. */
  readonly roundMs: number;
  readonly keysPerSecond: number;
  /** How many of the requests, 0 to 1, meet a fault at one of their stages. */
  readonly stageFaults: number;
  /** How many of the handlers, 0 to 1, need their lease renewed. */
  readonly longHandlers: number;
}

export interface RoundResult {
  readonly options: RoundOptions;
  readonly faults: readonly Fault[];
  /** All faults that were injected, those at stages of requests included. */
  readonly injected: number;
  readonly history: History;
  readonly violations: readonly Violation[];
  /** Keys of which nothing was promised any more. */
  readonly forfeited: number;
}

/** As short as a busy machine lets it be: shorter, and more leases are lost to that than to faults. */
const LEASE_MS = 2_000;
const TTL_MS = 60 * 60_000;

/** Clocks that differ, and probes of nodes that were down. */
const MARGIN_MS = 1_000;

/** After the last fault: as long as clients may need to get their answers by themselves. */
const CLIENTS_MS = 3 * LEASE_MS;

/** How long a key may be asked for in vain, after all is well and a lease is over. */
const STUCK_AFTER_MS = 10_000;

/** Longer than any pending response may take to be settled. */
const BUSY_MS = 60_000;

/** Where memory is short: some have to go before the end of the round, and most stay. */
const ENTRIES_PER_KEY = 0.8;

const SWEEPERS = 6;
const SWEEP_EVERY_MS = 500;

export async function runRound(options: RoundOptions): Promise<RoundResult> {
  const workplace = await openWorkplace();
  try {
    const arena = await startArena(options.store, workplace.folder);
    try {
      return await runIn(arena, workplace, options);
    } finally {
      await arena.close();
    }
  } finally {
    await workplace.remove();
  }
}

async function runIn(
  arena: Arena,
  { folder, server }: Workplace,
  options: RoundOptions,
): Promise<RoundResult> {
  const { store, kinds, seed, round, roundMs } = options;
  // The memory store's keys are those of one process.
  const places = arena.nodes.length === 0 ? 1 : 3;
  const accesses = await Promise.all(Array.from({ length: places }, () => arena.access()));
  const maxEntries = kinds.includes("memory")
    ? Math.ceil(keysIn(options) * ENTRIES_PER_KEY)
    : undefined;
  const settings = { store, maxEntries, leaseMs: LEASE_MS, ttlMs: TTL_MS };
  const fleet = new Fleet({ server, folder, accesses, settings });
  const faults = planFaults({
    random: randomFrom(seed, round, 0),
    kinds,
    roundMs,
    leaseMs: LEASE_MS,
    places,
    nodes: arena.nodes.length,
  });
  try {
    await fleet.start();
    return await runOn(fleet, arena, faults, options);
  } finally {
    await fleet.close();
  }
}

async function runOn(
  fleet: Fleet,
  arena: Arena,
  faults: readonly Fault[],
  options: RoundOptions,
): Promise<RoundResult> {
  const { kinds, stageFaults, longHandlers } = options;
  const sent: Sent[] = [];
  const clients = new Clients({ fleet, kinds, stageFaults, longHandlers, leaseMs: LEASE_MS, sent });
  const crowd = planClients(options);
  const atWork = crowd.map(async ({ client, startMs }) => {
    await sleep(startMs);
    await clients.run(client);
  });
  const injected = faults.map(async (fault) => {
    await sleep(fault.atMs);
    await inject(fault, { arena, fleet });
  });
  await Promise.all([...injected, sleep(options.roundMs)]);
  clients.windDown();
  await heal(fleet, arena);
  const allAnswered = Promise.all(atWork);
  await Promise.race([allAnswered, sleep(CLIENTS_MS)]);
  clients.stop();
  await allAnswered;

  const stuck = await untilIdle(fleet);
  const quietFrom = now();
  const sweep = new Clients({
    fleet,
    kinds: [],
    stageFaults: 0,
    longHandlers: 0,
    leaseMs: LEASE_MS,
    sent,
  });
  // To ask for what had to go would only drive out more.
  const { evicted: gone } = accountOf(sent, fleet);
  const keys = new Set(
    crowd.map(({ client }) => client.key).filter((key) => !gone.has(storageKey(key))),
  );
  const lastAskedFrom = await sweepUp(sweep, fleet, [...keys], options);

  const { history, struck, evicted } = accountOf(sent, fleet);
  const judged: HistoryOptions = {
    leaseMs: LEASE_MS,
    ttlMs: TTL_MS,
    endedAt: now(),
    quietFrom: Math.max(quietFrom, lastAskedFrom - LEASE_MS - MARGIN_MS),
    marginMs: MARGIN_MS,
    leasesHold: !kinds.includes("clock") && !kinds.includes("amnesia"),
  };
  const unexpected = [...fleet.crashes, ...stuck].map((says): Violation => ({
    promise: "P7",
    key: "-",
    says,
  }));
  return {
    options,
    faults,
    injected: faults.length + struck,
    history,
    violations: [...unexpected, ...checkHistory(history, judged)],
    forfeited: evicted.size,
  };
}

function keysIn({ roundMs, keysPerSecond }: RoundOptions): number {
  return Math.round((roundMs / 1_000) * keysPerSecond);
}

function planClients(options: RoundOptions) {
  const { seed, round, roundMs } = options;
  const random = randomFrom(seed, round, 1);
  return Array.from({ length: keysIn(options) }, (_, at) => {
    const key = `key-${seed}-${round}-${at}`;
    const streams = (client: number): Random => randomFrom(seed, round, 2, at, client);
    const startMs = between(random, 0, roundMs);
    return clientsOf(key, `r${round}-${at}`, startMs, random, streams);
  }).flat();
}

/** Faults that overlap may have left something behind. */
async function heal(fleet: Fleet, arena: Arena): Promise<void> {
  for (let place = 0; place < fleet.places; place += 1) {
    for (const link of fleet.links(place)) await link.heal();
    await fleet.ask(place, "PUT", "/skew?ms=0");
  }
  for (const node of arena.nodes) {
    node.resume();
    node.clock?.set(0);
  }
  await arena.healthy();
}

/** Nothing executes and nothing waits to be stored; tells where that does not come about. */
async function untilIdle(fleet: Fleet): Promise<string[]> {
  const deadline = now() + BUSY_MS;
  const places = Array.from({ length: fleet.places }, (_, place) => place);
  for (;;) {
    const busy = await Promise.all(places.map((place) => fleet.ask(place, "GET", "/busy")));
    if (busy.every((answer) => answer === "0")) return [];
    if (now() > deadline) return [`Servers are still busy after ${BUSY_MS} ms: ${busy.join()}`];
    await sleep(50);
  }
}

/** Asks for every key until it has an answer, or has been without one for too long. Tells when it last began to ask. */
async function sweepUp(
  clients: Clients,
  fleet: Fleet,
  keys: readonly string[],
  { seed, round }: RoundOptions,
): Promise<number> {
  const random = randomFrom(seed, round, 3);
  const until = now() + LEASE_MS + MARGIN_MS + STUCK_AFTER_MS;
  let open = keys.map((key): Client => ({ id: storageKey(key), key, variant: "same", random }));
  for (let pass = 1; ; pass += 1) {
    const startedAt = now();
    const queue = open.values();
    const unanswered: Client[] = [];
    const work = async (): Promise<void> => {
      for (const client of queue) {
        const { entry } = await askOnce(clients, fleet, client, pass);
        // The key belongs to a client that sent something else under it.
        if (entry.outcome === "mismatch") unanswered.push({ ...client, variant: "other" });
        else if (!isSettled(entry)) unanswered.push(client);
      }
    };
    await Promise.all(Array.from({ length: SWEEPERS }, work));
    if (unanswered.length === 0 || startedAt > until) return startedAt;
    open = unanswered;
    await sleep(SWEEP_EVERY_MS);
  }
}

async function askOnce(clients: Clients, fleet: Fleet, client: Client, pass: number) {
  const place = oneOf(
    client.random,
    Array.from({ length: fleet.places }, (_, at) => at),
  );
  const id = `sweep${pass}-${client.id.slice(0, 6)}-${client.variant}`;
  const plan = { id, workMs: 5, end: "pay", bytes: 100 } as const;
  return await clients.send(client, plan, { place, patienceMs: 20_000, isPatient: true });
}
