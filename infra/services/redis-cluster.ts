import { certificateOf, type RedisConfig, type RedisNodeOptions } from "./redis-config.js";
import { startRedis, type RedisNode } from "./redis-node.js";
import { agreed, until } from "./until.js";

export interface RedisCluster {
  /** `redis+cluster://h1:p1,h2:p2,…` */
  readonly url: string;
  /** PEM of the certificate to trust, with `tls`. */
  readonly ca: string | undefined;
  readonly nodes: readonly RedisNode[];
  /** As started; a failover changes roles, so ask `masterOf` afterwards. */
  readonly masters: readonly RedisNode[];
  readonly replicas: readonly RedisNode[];
  /** Who serves a key now, in the eyes of most nodes. */
  masterOf(key: string): Promise<RedisNode>;
  close(): Promise<void>;
}

const MASTERS = 3;
const REPLICAS = 3;
const SLOTS = 16_384;

const CLUSTER_CONFIG: RedisConfig = {
  "cluster-enabled": "yes",
  // A failover starts after this; production default is 15 s.
  "cluster-node-timeout": "1000",
  // A replica may always be promoted, however long it has not heard from its master.
  "cluster-replica-validity-factor": "0",
  // One hung master must not fail the keys of the others (LOCKING.md, section 4).
  "cluster-require-full-coverage": "no",
};

/** Three masters with a replica each. */
export async function startCluster(options: RedisNodeOptions = {}): Promise<RedisCluster> {
  const tls = certificateOf(options) ?? false;
  const config = {
    ...CLUSTER_CONFIG,
    ...(tls === false ? {} : { "tls-cluster": "yes" }),
    ...options.config,
  };
  const nodes = await Promise.all(
    Array.from({ length: MASTERS + REPLICAS }, () => startRedis({ ...options, tls, config })),
  );
  const close = async (): Promise<void> => {
    await Promise.all(nodes.map((node) => node.close()));
  };
  try {
    await form(nodes);
  } catch (error) {
    await close();
    throw error;
  }
  return {
    url: `${tls === false ? "redis" : "rediss"}+cluster://${nodes.map(({ port }) => `127.0.0.1:${port}`).join(",")}`,
    ca: nodes[0]?.ca,
    nodes,
    masters: nodes.slice(0, MASTERS),
    replicas: nodes.slice(MASTERS),
    masterOf: (key) => masterOf(nodes, key),
    close,
  };
}

async function form(nodes: readonly RedisNode[]): Promise<void> {
  const masters = nodes.slice(0, MASTERS);
  await Promise.all(
    // Distinct epochs, or the nodes spend their first seconds settling who is newer.
    nodes.map((node, at) => node.command("CLUSTER", "SET-CONFIG-EPOCH", `${at + 1}`)),
  );
  await Promise.all(
    masters.map((node, at) => node.command("CLUSTER", "ADDSLOTSRANGE", ...range(at))),
  );
  const [first, ...others] = nodes;
  if (first === undefined) throw new Error("A cluster has nodes.");
  for (const node of others) {
    const busPort = await node.command("CONFIG", "GET", "cluster-port");
    await first.command(
      "CLUSTER",
      "MEET",
      "127.0.0.1",
      `${node.port}`,
      String((busPort as string[])[1]),
    );
  }
  const ids = await Promise.all(masters.map((node) => node.command("CLUSTER", "MYID")));
  await until("every node knows every other", () => all(nodes, knowsEveryone));
  await Promise.all(
    nodes
      .slice(MASTERS)
      .map((node, at) => node.command("CLUSTER", "REPLICATE", String(ids[at % MASTERS]))),
  );
  await until("the cluster is ok", () => all(nodes, isSettled));
}

function range(at: number): [first: string, last: string] {
  return [`${firstSlot(at)}`, `${firstSlot(at + 1) - 1}`];
}

function firstSlot(at: number): number {
  return Math.floor((at * SLOTS) / MASTERS);
}

async function knowsEveryone(node: RedisNode): Promise<boolean> {
  const lines = await linesOf(node, "NODES");
  return lines.length === MASTERS + REPLICAS && !lines.some((line) => line.includes("handshake"));
}

/** In this node's eyes: state ok, three replicas, every link up; and its own replication runs. */
async function isSettled(node: RedisNode): Promise<boolean> {
  const [info, lines, replication] = await Promise.all([
    node.command("CLUSTER", "INFO"),
    linesOf(node, "NODES"),
    node.command("INFO", "replication"),
  ]);
  const others = lines.filter((line) => !line.includes("myself"));
  return (
    String(info).includes("cluster_state:ok") &&
    lines.filter((line) => line.includes("slave")).length === REPLICAS &&
    others.every((line) => line.includes(" connected")) &&
    !String(replication).includes("master_link_status:down")
  );
}

async function linesOf(node: RedisNode, what: string): Promise<string[]> {
  const text = String(await node.command("CLUSTER", what));
  return text.split("\n").filter((line) => line.trim() !== "");
}

/** During a failover nodes disagree, and a master that was stopped knows nothing of it: the majority counts. */
async function masterOf(nodes: readonly RedisNode[], key: string): Promise<RedisNode> {
  let master: RedisNode | undefined;
  await until(`a majority of nodes names one master of ${key}`, async () => {
    const up = nodes.filter(({ running }) => running);
    const ports = up.map((node) => masterPort(node, key));
    const named = await agreed(Math.floor(up.length / 2) + 1, ports);
    master = nodes.find(({ port }) => port === named);
    return master !== undefined;
  });
  if (master === undefined) throw new Error("Bug! until() returned without a master.");
  return master;
}

async function masterPort(node: RedisNode, key: string): Promise<number | undefined> {
  const slot = Number(await node.command("CLUSTER", "KEYSLOT", key));
  const ranges = (await node.command("CLUSTER", "SLOTS")) as [
    first: number,
    last: number,
    master: [host: string, port: number],
  ][];
  return ranges.find(([first, last]) => first <= slot && slot <= last)?.[2][1];
}

async function all(
  nodes: readonly RedisNode[],
  check: (node: RedisNode) => Promise<boolean>,
): Promise<boolean> {
  return (await Promise.all(nodes.map(check))).every(Boolean);
}
