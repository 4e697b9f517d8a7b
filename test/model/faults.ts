/** What goes wrong in a schedule, drawn from its seed: the weather, and single blows to nodes, processes and links. */
import type { Random } from "./random.js";
import type { Network, SimulatedNode, Weather } from "./network.js";
import type { Fleet } from "./fleet.js";
import type { World } from "./world.js";

export interface FaultOptions {
  /** How long it is until everything is whole again. */
  readonly untilMs: number;
  readonly leaseMs: number;
  /** Whether processes may die: a memory store would die with them. */
  readonly mortal: boolean;
  /** Which nodes may come back without their data. */
  readonly forgetful: readonly SimulatedNode[];
  /** Whether such nodes vote on, so that leases that they had granted are gone. */
  readonly forgetfulVote: boolean;
}

/** What a schedule's faults mean for what can be promised. */
export interface Harm {
  /** No node's lease can have ended early. */
  leasesHold: boolean;
  /** How much longer than their time leases may stand. */
  delayMs: number;
}

const HOUR_MS = 3_600_000;

export function drawWeather(random: Random, leaseMs: number): Weather {
  const some = (most: number): number => (random.chance(0.5) ? random.fraction() * most : 0);
  return {
    delayMs: random.pick([1, 5, 20, 60]),
    slow: some(0.2),
    slowMs: random.pick([100, 300, 2.5 * leaseMs]),
    loseRequest: some(0.2),
    loseReply: some(0.2),
    duplicate: some(0.2),
    stall: some(0.03),
    stallMs: random.pick([20, leaseMs / 2, 1.5 * leaseMs]),
  };
}

/** Blows to one target overlap like those of real life: the end of one ends them all. */
export function drawBlows(
  world: World,
  network: Network,
  nodes: readonly SimulatedNode[],
  fleet: Fleet,
  options: FaultOptions,
): Harm {
  const { random } = world;
  const harm: Harm = { leasesHold: true, delayMs: 0 };
  const { untilMs, leaseMs, mortal, forgetful, forgetfulVote } = options;
  const server = (): number => random.below(fleet.size);
  const blows: (() => Blow)[] = [() => pauseProcess(fleet, server(), random, leaseMs)];
  if (mortal)
    blows.push(
      () => killProcess(fleet, server()),
      () => stepProcess(fleet, server(), random),
    );
  if (nodes.length > 0) {
    blows.push(
      () => pauseNode(world, random.pick(nodes), random, leaseMs),
      () => killNode(random.pick(nodes)),
      () => cutLink(network, fleet.host(server()), random.pick(nodes), random),
      () => stepNode(random.pick(nodes), random, leaseMs, harm),
    );
  }
  if (forgetful.length > 0) blows.push(() => wipeNode(random.pick(forgetful), forgetfulVote, harm));
  const chosen = random.pick([0, 0, 1, 2, 4, 8]);
  for (let blow = 0; blow < chosen; blow += 1) {
    const { name, strike, heal } = random.pick(blows)();
    const at = random.fraction() * untilMs * 0.8;
    world.at(at, () => {
      world.say(() => `fault: ${name}`);
      network.count(name.split(" of ")[0] ?? name);
      strike();
    });
    if (heal !== undefined) {
      world.at(Math.min(untilMs, at + random.between(10, 2 * leaseMs)), () => {
        world.say(() => `over: ${name}`);
        heal();
      });
    }
  }
  return harm;
}

interface Blow {
  readonly name: string;
  readonly strike: () => void;
  readonly heal?: () => void;
}

function pauseProcess(fleet: Fleet, server: number, random: Random, leaseMs: number): Blow {
  const ms = random.between(10, 2 * leaseMs);
  return { name: `pause of process ${server} for ${ms} ms`, strike: () => fleet.pause(server, ms) };
}

function killProcess(fleet: Fleet, server: number): Blow {
  return {
    name: `kill of process ${server}`,
    strike: () => fleet.kill(server),
    heal: () => fleet.start(server),
  };
}

function stepProcess(fleet: Fleet, server: number, random: Random): Blow {
  const ms = random.between(-HOUR_MS, HOUR_MS);
  return {
    name: `clock step of process ${server} by ${ms} ms`,
    strike: () => fleet.stepClock(server, ms),
  };
}

function pauseNode(world: World, node: SimulatedNode, random: Random, leaseMs: number): Blow {
  const ms = random.between(10, 2 * leaseMs);
  return {
    name: `pause of node ${node.name} for ${ms} ms`,
    strike: () => {
      node.busyUntil = world.now + ms;
    },
  };
}

function killNode(node: SimulatedNode): Blow {
  return {
    name: `kill of node ${node.name}`,
    strike: () => node.crash(),
    heal: () => {
      if (!node.isUp) node.start();
    },
  };
}

function wipeNode(node: SimulatedNode, votesOn: boolean, harm: Harm): Blow {
  if (votesOn) harm.leasesHold = false;
  return {
    name: `loss of node ${node.name}`,
    strike: () => {
      node.crash();
      node.wipe();
    },
    heal: () => {
      if (!node.isUp) node.start();
    },
  };
}

/** One way or both. */
function cutLink(network: Network, process: string, node: SimulatedNode, random: Random): Blow {
  const ways = [`${process}>${node.name}`, `${node.name}>${process}`];
  const cut = random.pick([ways, ways.slice(0, 1), ways.slice(1)]);
  return {
    name: `cut of ${cut.join(" and ")}`,
    strike: () => cut.forEach((way) => network.cut.add(way)),
    heal: () => cut.forEach((way) => network.cut.delete(way)),
  };
}

/** Forward, leases end early; backward, they stand longer. Records outlive both by far. */
function stepNode(node: SimulatedNode, random: Random, leaseMs: number, harm: Harm): Blow {
  const forward = random.chance(0.5);
  const ms = forward ? random.between(1, HOUR_MS) : -random.between(1, 2 * leaseMs);
  if (forward) harm.leasesHold = false;
  else harm.delayMs -= ms;
  return {
    name: `clock step of node ${node.name} by ${ms} ms`,
    strike: () => {
      node.offsetMs += ms;
    },
  };
}
