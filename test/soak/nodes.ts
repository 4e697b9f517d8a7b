/** The store's nodes, real servers each, with a proxy before each of them that makes it fail now and then. */
import { DynamoDBClient } from "@aws-sdk/client-dynamodb";
import { startDynamodb } from "../../infra/services/dynamodb.js";
import { startRedis } from "../../infra/services/redis.js";
import { createTable } from "../../stores/dynamodb.js";
import { startProxy, type FaultProxy } from "../support/fault-proxy.js";
import { TABLE_NAME, type StoreName } from "./settings.js";

export interface Nodes {
  /** As the process under test reaches them. */
  readonly urls: readonly string[];
  /** One before each node. */
  readonly links: readonly FaultProxy[];
  close(): Promise<void>;
}

const START: Readonly<Record<StoreName, () => Promise<Nodes>>> = {
  memory: async () => ({ urls: [], links: [], close: async () => {} }),
  redis: () => redisNodes(1),
  redlock: () => redisNodes(3),
  dynamodb: async () => {
    const server = await startDynamodb();
    const credentials = { accessKeyId: "anyone", secretAccessKey: "anything" };
    const client = new DynamoDBClient({ region: "us-east-1", endpoint: server.url, credentials });
    await createTable({ tableName: TABLE_NAME, client });
    client.destroy();
    return await proxied([server], "http");
  },
};

export function startNodes(store: StoreName): Promise<Nodes> {
  return START[store]();
}

async function redisNodes(count: number): Promise<Nodes> {
  return await proxied(
    await Promise.all(Array.from({ length: count }, () => startRedis())),
    "redis",
  );
}

interface Node {
  readonly port: number;
  close(): Promise<void>;
}

async function proxied(nodes: readonly Node[], scheme: string): Promise<Nodes> {
  const links = await Promise.all(nodes.map(({ port }) => startProxy(port)));
  return {
    links,
    urls: links.map(({ port }) => `${scheme}://127.0.0.1:${port}`),
    close: async () => {
      await Promise.all([...links, ...nodes].map((one) => one.close()));
    },
  };
}
