/** The nodes of a store, real servers each, and for every server process a proxy of its own before each of them. */
import { randomUUID } from "node:crypto";
import { DynamoDBClient, ListTablesCommand } from "@aws-sdk/client-dynamodb";
import { startDynamodb } from "../../../infra/services/dynamodb.js";
import { startCluster, startRedis, type RedisNode } from "../../../infra/services/redis.js";
import { until } from "../../../infra/services/until.js";
import { createTable } from "../../../stores/dynamodb.js";
import { startProxy, type FaultProxy } from "../../support/fault-proxy.js";
import { FLAWED_STORES } from "./flawed-stores.js";
import { settableClocks, type SettableClock } from "./skew.js";

export interface ArenaNode {
  /** SIGKILL. */
  kill(): Promise<void>;
  start(keepData: boolean): Promise<void>;
  /** SIGSTOP. */
  stop(): Promise<void>;
  resume(): void;
  /** Sets its wall clock off; absent where that cannot be. */
  readonly clock: SettableClock | undefined;
}

/** What one server process has of the nodes. */
export interface Access {
  readonly urls: readonly string[];
  readonly ports: Readonly<Record<string, number>>;
  /** One for each node. */
  readonly links: readonly FaultProxy[];
}

export interface Arena {
  readonly nodes: readonly ArenaNode[];
  access(): Promise<Access>;
  /** Resolves when the nodes themselves say that all is well. */
  healthy(): Promise<void>;
  close(): Promise<void>;
}

/** How many masters each store has; `memory` has none. */
const MASTERS: Readonly<Record<string, number>> = {
  memory: 0,
  redis: 1,
  redlock: 3,
  redlock5: 5,
};

/**
 * What the stores ask of a server that may be killed: with `everysec`, replies overtake the append-only file for as long as
 * a slow disk is being synced, and a killed process loses up to two seconds.
 */
const DURABLE = { persistence: "always" } as const;

export const STORES = [...Object.keys(MASTERS), "cluster", "dynamodb"];

export const TABLE_NAME = "payments";

/** @param folder Of the campaign. */
export async function startArena(store: string, folder: string): Promise<Arena> {
  const base = FLAWED_STORES[store]?.base ?? store;
  if (base === "cluster") return await clusterArena();
  if (base === "dynamodb") return await dynamodbArena();
  const count = MASTERS[base];
  if (count === undefined) throw new Error(`There is no store named ${store}.`);
  const clockNamed = count > 0 ? await settableClocks(folder) : undefined;
  const clocks = Array.from({ length: count }, (_, at) => clockNamed?.(`node-${at}`));
  const nodes = await Promise.all(
    clocks.map((clock) => startRedis({ ...DURABLE, ...(clock && { env: clock.env }) })),
  );
  return {
    ...arenaOf(nodes, clocks),
    access: async () => {
      const links = await Promise.all(nodes.map(({ port }) => startProxy(port)));
      return { links, urls: links.map(({ port }) => `redis://127.0.0.1:${port}`), ports: {} };
    },
    healthy: () => until("every node answers", async () => await all(nodes, answers)),
  };
}

/** Nodes tell clients each other's addresses, which must lead through the proxies. */
async function clusterArena(): Promise<Arena> {
  const cluster = await startCluster(DURABLE);
  const { nodes } = cluster;
  return {
    ...arenaOf(nodes, []),
    access: async () => {
      const links = await Promise.all(nodes.map(({ port }) => startProxy(port)));
      const ports = nodes.map(({ port }, at) => [`127.0.0.1:${port}`, links[at]?.port ?? 0]);
      const seeds = links.map(({ port }) => `127.0.0.1:${port}`).join(",");
      return { links, urls: [`redis+cluster://${seeds}`], ports: Object.fromEntries(ports) };
    },
    healthy: () => until("the cluster is whole", async () => await all(nodes, isWhole)),
  };
}

/** It keeps nothing when it dies, which DynamoDB would: so it stands still and is cut off, and lives. */
async function dynamodbArena(): Promise<Arena> {
  const server = await startDynamodb();
  const credentials = { accessKeyId: "anyone", secretAccessKey: "anything" };
  const client = new DynamoDBClient({ region: "us-east-1", endpoint: server.url, credentials });
  await createTable({ tableName: TABLE_NAME, client });
  const immortal = async (): Promise<void> => {
    throw new Error("DynamoDB Local would lose its data.");
  };
  return {
    nodes: [
      {
        kill: immortal,
        start: immortal,
        stop: () => server.stop(),
        resume: () => server.resume(),
        clock: undefined,
      },
    ],
    access: async () => {
      const link = await startProxy(server.port);
      return { links: [link], urls: [`http://127.0.0.1:${link.port}`], ports: {} };
    },
    healthy: () =>
      until("the table answers", async () => {
        const tables = await client.send(new ListTablesCommand({})).catch(() => undefined);
        return tables !== undefined;
      }),
    close: async () => {
      client.destroy();
      await server.close();
    },
  };
}

function arenaOf(nodes: readonly RedisNode[], clocks: readonly (SettableClock | undefined)[]) {
  return {
    nodes: nodes.map((node, at): ArenaNode => {
      return {
        kill: () => node.kill(),
        start: (keepData) => node.restart({ keepData }),
        stop: () => node.stop(),
        resume: () => node.resume(),
        clock: clocks[at],
      };
    }),
    close: async () => {
      await Promise.all(nodes.map((node) => node.close()));
    },
  };
}

async function all(
  nodes: readonly RedisNode[],
  isSo: (node: RedisNode) => Promise<boolean>,
): Promise<boolean> {
  return (await Promise.all(nodes.map((node) => isSo(node).catch(() => false)))).every(Boolean);
}

async function answers(node: RedisNode): Promise<boolean> {
  return (await node.command("GET", randomUUID())) === null;
}

/** In its own eyes: every slot is served, and as a master it has a replica, as a replica it follows. */
async function isWhole(node: RedisNode): Promise<boolean> {
  const [cluster, replication] = await Promise.all([
    node.command("CLUSTER", "INFO"),
    node.command("INFO", "replication"),
  ]);
  return (
    String(cluster).includes("cluster_state:ok") &&
    /role:master[^]*state=online|master_link_status:up/.test(String(replication))
  );
}
