import { certificateOf, type RedisNodeOptions } from "./redis-config.js";
import { startRedis, startSentinelNode, type RedisNode } from "./redis-node.js";
import { agreed, until } from "./until.js";

export interface RedisSentinel {
  /** `redis+sentinel://h1:p1,h2:p2,h3:p3/name` */
  readonly url: string;
  /** PEM of the certificate to trust, with `tls`. */
  readonly ca: string | undefined;
  /** The name under which the sentinels watch the master. */
  readonly name: string;
  /** Data nodes, the first master first. */
  readonly nodes: readonly RedisNode[];
  readonly sentinels: readonly RedisNode[];
  /** Who is master now, in the eyes of most sentinels. */
  master(): Promise<RedisNode>;
  close(): Promise<void>;
}

const NAME = "mymaster";
const SENTINELS = 3;
const QUORUM = 2;

/**
 * A master, a replica and three sentinels that fail over after half a second. A failed master that comes back takes
 * itself for a master for 8 to 20 s more: Sentinel waits that long, whatever the settings, before it demotes it.
 */
export async function startSentinel(options: RedisNodeOptions = {}): Promise<RedisSentinel> {
  const certificate = certificateOf(options);
  const tls = certificate ?? false;
  const master = await startRedis({ ...options, tls });
  const replica = await startRedis({
    ...options,
    tls,
    config: { ...options.config, replicaof: `127.0.0.1 ${master.port}` },
  });
  const monitor = [
    `sentinel monitor ${NAME} 127.0.0.1 ${master.port} ${QUORUM}`,
    // Production default is 30 s.
    `sentinel down-after-milliseconds ${NAME} 500`,
    // Bounds a failed attempt; the next one starts after twice this.
    `sentinel failover-timeout ${NAME} 2000`,
  ];
  const sentinels = await Promise.all(
    Array.from({ length: SENTINELS }, () => startSentinelNode(monitor, certificate)),
  );
  const nodes = [master, replica];
  const close = async (): Promise<void> => {
    await Promise.all([...nodes, ...sentinels].map((node) => node.close()));
  };
  try {
    await until("every sentinel sees the replica and the other sentinels", async () =>
      (await Promise.all(sentinels.map(seesEveryone))).every(Boolean),
    );
  } catch (error) {
    await close();
    throw error;
  }
  return {
    url: `${tls === false ? "redis" : "rediss"}+sentinel://${sentinels.map(({ port }) => `127.0.0.1:${port}`).join(",")}/${NAME}`,
    ca: master.ca,
    name: NAME,
    nodes,
    sentinels,
    master: () => currentMaster(nodes, sentinels),
    close,
  };
}

/** A failover needs a replica that is connected and a majority of sentinels that know each other. */
async function seesEveryone(sentinel: RedisNode): Promise<boolean> {
  const [view, replicas] = await Promise.all([
    sentinel.command("SENTINEL", "MASTER", NAME),
    sentinel.command("SENTINEL", "REPLICAS", NAME),
  ]);
  const [replica] = replicas as unknown[];
  return (
    field(view, "num-other-sentinels") === `${SENTINELS - 1}` &&
    field(view, "flags") === "master" &&
    replica !== undefined &&
    field(replica, "master-link-status") === "ok"
  );
}

function field(fields: unknown, name: string): string | undefined {
  const flat = fields as string[];
  return flat[flat.indexOf(name) + 1];
}

/** While they fail over, sentinels disagree: their majority counts. */
async function currentMaster(
  nodes: readonly RedisNode[],
  sentinels: readonly RedisNode[],
): Promise<RedisNode> {
  let master: RedisNode | undefined;
  await until("a majority of sentinels names one master", async () => {
    const named = await agreed(QUORUM, sentinels.filter(({ running }) => running).map(masterPort));
    master = nodes.find(({ port }) => port === named);
    return master !== undefined;
  });
  if (master === undefined) throw new Error("Bug! until() returned without a master.");
  return master;
}

async function masterPort(sentinel: RedisNode): Promise<number> {
  const address = await sentinel.command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME);
  return Number((address as string[])[1]);
}
