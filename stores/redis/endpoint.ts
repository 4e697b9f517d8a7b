/** One Redis endpoint and its verbs: all of the single-endpoint store, and one voter of a quorum. */
import type { Cluster, Redis } from "ioredis";
import { StoreUnavailableError } from "../../src/errors.js";
import { sendAlone, sendNow, sendTogether, type Argument, type Command } from "./commands.js";
import { watchConnection } from "./connection.js";
import { isReply, storeError } from "./errors.js";
import { EXTEND, RELEASE, STORE, type Script } from "./scripts.js";
import { lockMark, lockValue, readValue, type Value } from "./value.js";

export interface EndpointOptions {
  /** What every key begins with. */
  readonly prefix: string;
  /** How many replicas must confirm a write; 0 asks none. */
  readonly minReplicas: number;
  /** How long to wait for them, in milliseconds. */
  readonly replicaTimeoutMs: number;
}

/** What `claim` found: nothing, and took it; or what stands there. */
export type Claimed = "granted" | Value;

/** What `store` found: its own record stored, that in an empty place, the key held by somebody else, or another record. */
export type Stored = "stored" | "lapsed" | "held" | Extract<Value, { kind: "record" }>;

export class RedisEndpoint {
  readonly #client: Redis | Cluster;
  readonly #options: EndpointOptions;

  constructor(client: Redis | Cluster, options: EndpointOptions) {
    this.#client = client;
    this.#options = options;
    watchConnection(client);
  }

  async read(key: string): Promise<Value | undefined> {
    return valueOf(await this.#call(["get", this.#name(key)]));
  }

  /** Takes an empty key, or tells what stands there. One command that does both: NX with GET, Redis 7.0. */
  async claim(key: string, token: string, fingerprint: string, leaseMs: number): Promise<Claimed> {
    const name = this.#name(key);
    const lock = lockValue(token, leaseMs, fingerprint);
    const found = valueOf(await this.#write(name, ["set", name, lock, "PX", leaseMs, "NX", "GET"]));
    // My own token is my own claim, whose reply was lost and that the driver sent again.
    return found === undefined || (found.kind === "lock" && found.token === token)
      ? "granted"
      : found;
  }

  async extend(
    key: string,
    token: string,
    leaseMs: number,
  ): Promise<"extended" | "lost" | "empty"> {
    const answer = await this.#eval(EXTEND, key, [lockMark(token), leaseMs]);
    if (answer === 1) return "extended";
    return answer === -1 ? "empty" : "lost";
  }

  /**
   * Stores a record where the key is held under `token`, or empty. The record's own token tells a repetition, which
   * is stored already, from another's record.
   */
  async store(
    key: string,
    token: string,
    record: Buffer,
    ttlMs: number,
    author = token,
  ): Promise<Stored> {
    const args = [lockMark(token), record, ttlMs, author];
    const answer = await this.#eval(STORE, key, args);
    if (answer === 1) return "stored";
    if (answer === 2) return "lapsed";
    const found = valueOf(answer === 0 ? null : answer);
    return found?.kind === "record" ? found : "held";
  }

  /** Not worth waiting for replicas: a release that is lost in a failover costs what is left of the lease. */
  async release(key: string, token: string): Promise<void> {
    // A claim that timed out is given back, and its connection may be given up in the same turn.
    const run = (_: string, command: Command) => this.#call(command, sendNow);
    await this.#eval(RELEASE, key, [lockMark(token)], run);
  }

  async delete(key: string): Promise<boolean> {
    const name = this.#name(key);
    return (await this.#write(name, ["del", name])) === 1;
  }

  async ping(): Promise<void> {
    await this.#call(["ping"]);
  }

  #name(key: string): string {
    return this.#options.prefix + key;
  }

  /** Runs a script by its hash; the first time on a server, or after its restart, by its text. */
  #eval(
    { sha, lua }: Script,
    key: string,
    args: readonly Argument[],
    run = (name: string, command: Command) => this.#write(name, command),
  ): Promise<unknown> {
    const name = this.#name(key);
    return run(name, ["evalsha", sha, 1, name, ...args]).catch((error: unknown) => {
      if (!isReply(error, "NOSCRIPT")) throw error;
      return run(name, ["eval", lua, 1, name, ...args]);
    });
  }

  #write(name: string, command: Command): Promise<unknown> {
    return this.#options.minReplicas === 0 ? this.#call(command) : this.#replicated(name, command);
  }

  /** `WAIT` counts the writes of its own connection, so it travels right behind the command. */
  async #replicated(name: string, command: Command): Promise<unknown> {
    const { minReplicas, replicaTimeoutMs } = this.#options;
    const wait: Command = ["wait", minReplicas, replicaTimeoutMs];
    const both = () =>
      this.#heard(sendTogether(this.#client, [command, wait]), (replies) => replies);
    const [answer, confirmed] = await both().catch(async (error: unknown) => {
      if (!isReply(error, "MOVED")) throw error;
      // Executed nowhere. ioredis follows a slot that has moved for a command that it may send where it likes.
      await this.#call(["eval", "return 0", 1, name]);
      return await both();
    });
    if (Number(confirmed) >= minReplicas) return numbered(answer);
    throw new StoreUnavailableError(
      `Only ${Number(confirmed)} of ${minReplicas} replicas confirmed a write within ${replicaTimeoutMs} ms. ` +
        "It is not taken back: a retry finds what is there.",
    );
  }

  #call(command: Command, send = sendAlone): Promise<unknown> {
    return this.#heard(send(this.#client, command), numbered);
  }

  #heard<T, R>(replies: Promise<T>, read: (reply: T) => R): Promise<R> {
    return replies.then(read, (error: unknown) => {
      throw storeError(error, this.#client);
    });
  }
}

/** Clients with `stringNumbers` give integers as strings; all other text comes as bytes. */
function numbered(answer: unknown): unknown {
  return typeof answer === "string" ? Number(answer) : answer;
}

function valueOf(answer: unknown): Value | undefined {
  if (answer === null) return undefined;
  if (Buffer.isBuffer(answer)) return readValue(answer);
  throw new StoreUnavailableError(`Redis gave an answer of unexpected type ${typeof answer}.`);
}
