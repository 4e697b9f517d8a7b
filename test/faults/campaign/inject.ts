/** Makes a plan's faults happen, and ends them. */
import { setTimeout as sleep } from "node:timers/promises";
import type { FaultProxy } from "../../support/fault-proxy.js";
import type { Arena, ArenaNode } from "./arena.js";
import type { Fleet } from "./fleet.js";
import type { Fault } from "./plan.js";
import { standStill } from "./stand-still.js";

/** Between two resets of a lossy link. */
const RESET_EVERY_MS = 150;

export interface Injection {
  readonly arena: Arena;
  readonly fleet: Fleet;
}

/** Resolves when the fault is over; each is at an end by itself. */
export async function inject(fault: Fault, { arena, fleet }: Injection): Promise<void> {
  const { place, forMs } = fault;
  const links = fault.nodes.flatMap((node) => fleet.links(place)[node] ?? []);
  const nodes = fault.nodes.flatMap((node) => arena.nodes[node] ?? []);
  switch (fault.kind) {
    case "kill":
      return await fleet.kill(place, forMs);
    case "pause":
      return await fleet.pause(place, forMs);
    case "node-kill":
    case "failover":
      return await forEach(nodes, (node) => killNode(node, forMs, true));
    case "amnesia":
      return await forEach(nodes, (node) => killNode(node, forMs, false));
    case "node-pause":
      return await forEach(nodes, (node) => standStill(node, forMs));
    case "partition":
    case "slow":
    case "late":
      return await forEach(links, (link) => impair(link, fault));
    case "lossy":
      return await forEach(links, async (link) => {
        for (let leftMs = forMs; leftMs > 0; leftMs -= RESET_EVERY_MS) {
          link.reset();
          await sleep(RESET_EVERY_MS);
        }
      });
    case "lost-reply":
      for (const link of links) void link.cutAfterRequest(isWrite);
      return;
    case "clock":
      return await setClocks(nodes, fault, fleet);
    case "memory":
      return;
    default:
      throw new Error(`Bug! Unknown fault ${String(fault.kind satisfies never)}`);
  }
}

async function impair(link: FaultProxy, { kind, way, delaysMs, forMs }: Fault): Promise<void> {
  if (kind === "slow") link.delay(...delaysMs);
  else if (kind === "late") link.hold();
  else if (way === "both") link.hang();
  else if (way === "requests") link.dropRequests();
  else if (way === "replies") link.dropReplies();
  else await link.refuse();
  await sleep(forMs);
  await link.heal();
}

const dead = new WeakSet<ArenaNode>();

async function killNode(node: ArenaNode, forMs: number, keepData: boolean): Promise<void> {
  if (dead.has(node)) return;
  dead.add(node);
  await node.kill();
  await sleep(forMs);
  await node.start(keepData);
  dead.delete(node);
}

async function setClocks(
  nodes: readonly ArenaNode[],
  { place, offsetMs, forMs }: Fault,
  fleet: Fleet,
): Promise<void> {
  for (const node of nodes) node.clock?.set(offsetMs);
  await fleet.ask(place, "PUT", `/skew?ms=${offsetMs}`);
  await sleep(forMs);
  for (const node of nodes) node.clock?.set(0);
  await fleet.ask(place, "PUT", "/skew?ms=0");
}

/** Commands of Redis and operations of DynamoDB that change a key. */
function isWrite(bytes: Buffer): boolean {
  return /^\*\d+\r\n\$\d+\r\n(set|evalsha|eval)\r\n|\nx-amz-target: *\w+\.(Put|Update)Item/i.test(
    bytes.toString("latin1", 0, 2_048),
  );
}

async function forEach<T>(all: readonly T[], act: (one: T) => Promise<void>): Promise<void> {
  await Promise.all(all.map((one) => act(one)));
}
