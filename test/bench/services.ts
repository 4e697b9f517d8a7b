/** The real servers that all subjects of a run share. */
import { startDynamodb, type DynamodbLocal } from "../../infra/services/dynamodb.js";
import {
  startMasters,
  startRedis,
  type RedisMasters,
  type RedisNode,
} from "../../infra/services/redis.js";
import { createTable } from "../../stores/dynamodb.js";
import type { StoreName } from "./subjects.js";

export const TABLE = "bench";
const MASTERS = 3;

/** Where they are, as subjects are told. */
export interface Addresses {
  readonly redis?: string | undefined;
  readonly masters?: readonly string[] | undefined;
  readonly dynamodb?: string | undefined;
  readonly table: string;
}

export class Services {
  #redis: RedisNode | undefined;
  #masters: RedisMasters | undefined;
  #dynamodb: DynamodbLocal | undefined;

  get addresses(): Addresses {
    return {
      redis: this.#redis?.url,
      masters: this.#masters?.urls,
      dynamodb: this.#dynamodb?.url,
      table: TABLE,
    };
  }

  async start(stores: ReadonlySet<StoreName>): Promise<void> {
    await Promise.all([this.#startRedis(stores), this.#startDynamodb(stores)]);
  }

  /** The Redis servers of a store. */
  nodes(store: StoreName): readonly RedisNode[] {
    if (store === "redis") return this.#redis === undefined ? [] : [this.#redis];
    return store === "redlock" ? (this.#masters?.nodes ?? []) : [];
  }

  port(store: StoreName): number {
    const [port] =
      store === "dynamodb" ? [this.#dynamodb?.port] : this.nodes(store).map((node) => node.port);
    if (port === undefined) throw new Error(`There is no server for ${store}.`);
    return port;
  }

  /** Commands that the servers of a store have executed, those inside of scripts included. */
  async commands(store: StoreName): Promise<number> {
    const counts = await Promise.all(
      this.nodes(store).map(async (node) =>
        sent(String(await node.command("INFO", "commandstats"))),
      ),
    );
    return counts.reduce((sum, count) => sum + count, 0);
  }

  /** Empty servers for the next subject; they free the memory behind its back. */
  async flush(store: StoreName): Promise<void> {
    await Promise.all(this.nodes(store).map((node) => node.command("FLUSHALL", "ASYNC")));
  }

  async close(): Promise<void> {
    await Promise.all([this.#redis?.close(), this.#masters?.close(), this.#dynamodb?.close()]);
  }

  async #startRedis(stores: ReadonlySet<StoreName>): Promise<void> {
    if (stores.has("redis")) this.#redis = await startRedis();
    if (stores.has("redlock")) this.#masters = await startMasters(MASTERS);
  }

  async #startDynamodb(stores: ReadonlySet<StoreName>): Promise<void> {
    if (!stores.has("dynamodb")) return;
    // Of the environment, for createTable's own client; DynamoDB Local checks neither.
    process.env["AWS_ACCESS_KEY_ID"] ??= "anyone";
    process.env["AWS_SECRET_ACCESS_KEY"] ??= "anything";
    this.#dynamodb = await startDynamodb();
    const { url: endpoint } = this.#dynamodb;
    await createTable({ tableName: TABLE, endpoint, region: "eu-central-1" });
  }
}

/** What clients send for their own sake, and what our asking adds. */
const OWN = new Set(["info", "client", "hello", "config", "ping", "select", "flushall", "script"]);

function sent(stats: string): number {
  return [...stats.matchAll(/^cmdstat_([a-z]+)(?:\|[a-z-]+)?:calls=(\d+)/gm)]
    .filter(([, name = ""]) => !OWN.has(name))
    .reduce((sum, [, , calls]) => sum + Number(calls), 0);
}
