/** The stores under test, over simulated nodes. */
import type { Store } from "../../src/store.js";
import { memoryStore } from "../../stores/memory.js";
import { redisStore } from "../../stores/redis.js";
import { redlockStore } from "../../stores/redlock.js";
import { simulatedClient } from "./client.js";
import { naiveStore } from "./naive-store.js";
import type { Network, SimulatedNode } from "./network.js";
import type { SimulatedProcess } from "./world.js";

export interface StoreOptions {
  /** Of a quorum: default as the kit's. */
  readonly quarantineMs?: number | undefined;
}

export interface StoreKind {
  readonly nodes: number;
  readonly servers: number;
  /** Whether processes may die: what they keep dies with them. */
  readonly mortal: boolean;
  readonly open: (
    network: Network,
    process: SimulatedProcess,
    nodes: readonly SimulatedNode[],
    options: StoreOptions,
  ) => Store;
}

/** A third of the protocol's time-out, so that a quorum answers before it. */
const NODE_TIMEOUT_MS = 110;

const quiet = { prefix: "", onReport: () => {} };

const quorum: StoreKind["open"] = (network, process, nodes, { quarantineMs }) =>
  redlockStore(
    nodes.map((node) => simulatedClient(network, process, node)),
    { ...quiet, nodeTimeoutMs: NODE_TIMEOUT_MS, quarantineMs },
  );

export const STORES: Readonly<Record<string, StoreKind>> = {
  memory: { nodes: 0, servers: 1, mortal: false, open: () => memoryStore() },
  redis: {
    nodes: 1,
    servers: 3,
    mortal: true,
    open: (network, process, [node]) =>
      redisStore(simulatedClient(network, process, node as SimulatedNode), quiet),
  },
  redlock: { nodes: 3, servers: 3, mortal: true, open: quorum },
  redlock5: { nodes: 5, servers: 3, mortal: true, open: quorum },
  naive: {
    nodes: 1,
    servers: 3,
    mortal: true,
    open: (network, process, [node]) =>
      naiveStore(simulatedClient(network, process, node as SimulatedNode)),
  },
};
