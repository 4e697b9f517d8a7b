/**
 * A marker that a server holds as long as it holds its data: a key without an end, written once. It is looked for on
 * every new connection, since a server cannot lose its memory behind one that stays open, unless it is told to (FLUSHALL).
 */
import { randomUUID } from "node:crypto";
import type { Cluster, Redis } from "ioredis";
import { StoreUnavailableError } from "../../src/errors.js";
import { watchConnection } from "./connection.js";
import { storeError } from "./errors.js";

export interface MarkerOptions {
  readonly prefix: string;
  /** Whether a server that has no marker, and of which this process knows nothing, may be a new one. Default: always. */
  readonly mayBeNew?: () => Promise<boolean>;
  /** Told once for each loss; `isOld` where another process saw it, and left word. */
  readonly onLoss: (lostAt: Date, isOld: boolean) => void;
}

/** `generation bornAt kind`; a server that lost its data is born again. */
interface Mark {
  readonly generation: string;
  /** Epoch milliseconds: since when the server remembers. */
  readonly bornAt: number;
  readonly kind: "new" | "lost";
}

interface Reading {
  readonly node: Redis;
  readonly name: string;
  readonly mark: Mark | undefined;
}

/**
 * Each master of a Cluster has a marker of its own, the first of these names that it serves. With three masters one in
 * 10⁴⁵ would serve none, with thirty one in 6,000; that one is not watched.
 */
const CLUSTER_NAMES = 256;
const LOOK_AGAIN_MS = 1_000;

export class Marker {
  /** When the last loss was, on the `performance.now()` clock. */
  lostAt = Number.NEGATIVE_INFINITY;
  /** Since when the server remembers, in epoch milliseconds; `undefined` before the first look, and where it never did. */
  bornAt: number | undefined;
  /** Resolves when the server has been looked at for the first time. */
  readonly firstLook: Promise<void>;
  readonly #client: Redis | Cluster;
  readonly #options: MarkerOptions;
  readonly #generations = new Map<string, string>();
  /** Whose marker was seen on the connection that they have now. */
  readonly #seen = new WeakSet<Redis>();
  #isSeen = false;
  /** How often that became doubtful. */
  #doubts = 0;
  #looking: Promise<void> | undefined;
  #nextLook: NodeJS.Timeout | undefined;
  #looked!: () => void;

  constructor(client: Redis | Cluster, options: MarkerOptions) {
    this.#client = client;
    this.#options = options;
    this.firstLook = new Promise((resolve) => {
      this.#looked = resolve;
    });
    const look = (): void => {
      // A master that is not connected is looked at when it is, and holds up nobody until then.
      const connected = this.#masters().filter(({ status }) => status === "ready");
      if (connected.every((node) => this.#seen.has(node))) return;
      this.#doubt();
      this.#lookUntilSeen();
    };
    const onLost = (node: Redis): void => {
      this.#seen.delete(node);
      this.#doubt();
    };
    watchConnection(client, { onLost, onReady: look });
    look();
  }

  /** Whether every server that is connected has been looked at since. */
  get isSeen(): boolean {
    return this.#isSeen;
  }

  /** @throws {StoreUnavailableError} where that was not possible: then nobody knows what the server remembers. */
  look(): Promise<void> {
    if (this.#isSeen) return Promise.resolve();
    this.#looking ??= this.#lookAtAll()
      .catch((error: unknown) => {
        throw storeError(error, this.#client);
      })
      .finally(() => {
        this.#looking = undefined;
      });
    return this.#looking;
  }

  /** No event tells that a Cluster takes commands again, or that a server has read its files. */
  #lookUntilSeen(): void {
    // Whoever needs to know looks at once, and hears what is wrong.
    this.look().catch(() => {
      if (this.#nextLook !== undefined) return;
      this.#nextLook = setTimeout(() => {
        this.#nextLook = undefined;
        // An event tells of a new connection.
        if (this.#client.status === "ready") this.#lookUntilSeen();
      }, LOOK_AGAIN_MS).unref();
    });
  }

  #doubt(): void {
    this.#doubts += 1;
    this.#isSeen = false;
  }

  #masters(): Redis[] {
    return "nodes" in this.#client ? this.#client.nodes("master") : [this.#client];
  }

  async #lookAtAll(): Promise<void> {
    const doubts = this.#doubts;
    const masters = this.#masters();
    if (masters.length === 0) throw new StoreUnavailableError("Redis Cluster is not connected.");
    const unseen = masters.filter((node) => !this.#seen.has(node));
    const readings = await this.#readAll(unseen, unseen.length === masters.length);
    const first = readings.flatMap(({ mark }) => mark?.bornAt ?? []);
    if (first.length > 0) this.bornAt = Math.min(...first, this.bornAt ?? Infinity);
    this.#looked();
    // A Cluster that has a marker anywhere is not new, but its slots may have moved to a master that is.
    const isKnown = this.bornAt !== undefined;
    const mayBeNew = isKnown || (await (this.#options.mayBeNew?.() ?? true));
    for (const reading of readings) await this.#judge(reading, mayBeNew);
    if (this.#doubts !== doubts)
      throw new StoreUnavailableError("Redis was disconnected meanwhile.");
    for (const node of unseen) if (node.status === "ready") this.#seen.add(node);
    this.#isSeen = true;
  }

  /**
   * Of a Cluster's masters some may be down: their keys fail without this, and they are looked at when they return.
   *
   * @param areAll Whether no other master has been seen: then somebody must answer.
   */
  async #readAll(nodes: readonly Redis[], areAll: boolean): Promise<Reading[]> {
    const all = await Promise.allSettled(nodes.map((node) => this.#read(node)));
    const failures = all.flatMap((it, at) =>
      it.status === "rejected" ? [{ node: nodes[at], error: it.reason as unknown }] : [],
    );
    const [blocking] =
      areAll && failures.length === nodes.length
        ? failures
        : failures.filter(({ node }) => node?.status === "ready");
    if (blocking !== undefined) throw blocking.error;
    return all.flatMap((it) => (it.status === "fulfilled" ? (it.value ?? []) : []));
  }

  /** Nothing of a master that serves none of the names. */
  async #read(node: Redis): Promise<Reading | undefined> {
    const names = this.#names(node);
    const pipeline = node.pipeline();
    for (const name of names) pipeline.get(name);
    const replies = (await pipeline.exec()) ?? [];
    const at = replies.findIndex(([error]) => !isElsewhere(error));
    const [error, value] = replies[at] ?? [null, null];
    if (error !== null) throw error;
    const name = names[at];
    return name === undefined ? undefined : { node, name, mark: markOf(value) };
  }

  /** Compares with what this process remembers, and writes what every other one shall know. */
  async #judge({ node, name, mark }: Reading, mayBeNew: boolean): Promise<void> {
    const known = this.#generations.get(name);
    let found = mark ?? (await this.#write(node, name, known === undefined && mayBeNew));
    if (known !== undefined && found.generation !== known && found.kind === "new") {
      // Written by a process that could not know better.
      found = { ...found, kind: "lost" };
      await node.set(name, textOf(found));
    }
    this.bornAt ??= found.bornAt;
    this.#generations.set(name, found.generation);
    if (found.kind === "new" || found.generation === known) return;
    this.lostAt = Math.max(this.lostAt, performance.now() - (Date.now() - found.bornAt));
    this.#options.onLoss(new Date(found.bornAt), known === undefined && mark !== undefined);
  }

  /** Answers what stands there afterwards: another process may have been faster. */
  async #write(node: Redis, name: string, isNew: boolean): Promise<Mark> {
    const mark: Mark = {
      generation: randomUUID(),
      bornAt: Date.now(),
      kind: isNew ? "new" : "lost",
    };
    return markOf(await node.set(name, textOf(mark), "NX", "GET")) ?? mark;
  }

  /** No idempotency key has a space in it. */
  #names(node: Redis): string[] {
    const { prefix } = this.#options;
    if (!("nodes" in this.#client)) return [`${prefix}marker {0}`];
    // What the Cluster puts before keys its nodes do not, unless each was told to.
    const before = node.options.keyPrefix ? "" : (this.#client.options.keyPrefix ?? "");
    return Array.from({ length: CLUSTER_NAMES }, (_, at) => `${before}${prefix}marker {${at}}`);
  }
}

function isElsewhere(error: Error | null): boolean {
  return error !== null && /^(MOVED|ASK) /.test(error.message);
}

function textOf({ generation, bornAt, kind }: Mark): string {
  return `${generation} ${bornAt} ${kind}`;
}

function markOf(value: unknown): Mark | undefined {
  if (typeof value !== "string") return undefined;
  const [generation = "", bornAt, kind] = value.split(" ");
  if (!(Number(bornAt) > 0) || (kind !== "new" && kind !== "lost")) {
    throw new StoreUnavailableError(
      "The store's marker was not written by idempotency-kit. " +
        "Give the store a prefix that no other program writes to.",
    );
  }
  return { generation, bornAt: Number(bornAt), kind };
}
