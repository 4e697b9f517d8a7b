/** One item per key and its transitions: each is a single conditional write, and each may be repeated. */
import {
  DeleteItemCommand,
  GetItemCommand,
  PutItemCommand,
  UpdateItemCommand,
  type AttributeValue,
  type Put,
} from "@aws-sdk/client-dynamodb";
import { StoreUnavailableError } from "../../src/errors.js";
import type { Calls, Deadline } from "./calls.js";
import type { Command } from "./client.js";
import { readItem, type Found, type Item } from "./item.js";

export interface RegisterOptions {
  readonly tableName: string;
  readonly keyAttribute: string;
  readonly ttlAttribute: string;
  /** What every key begins with. */
  readonly prefix: string;
  readonly clockSkewMs: number;
}

export interface Owner {
  readonly key: string;
  readonly token: string;
}

const ABSENT = "attribute_not_exists(#id)";
/** An item whose time is over is as good as absent, whether or not DynamoDB has deleted it yet. */
const EMPTY = `${ABSENT} OR #endsAt <= :now`;
const MINE = "#state = :held AND #token = :token";
const MINE_STILL = `${MINE} AND #endsAt > :now`;

/** `#previous` keeps what the claim found, for whoever has to repeat it. */
const CLAIM =
  "SET #previous = if_not_exists(#state, :nothing), #state = :held, #token = :token, " +
  "#fingerprint = :fingerprint, #endsAt = :endsAt, #ttl = :ttl " +
  "REMOVE #record, #chunks, #sha256, #size, #encoding";
const EXTEND = "SET #endsAt = :endsAt, #ttl = :ttl";

/** An abandoned lease stays a day longer than it counts: the next claim shall see that it is a takeover. */
const LEASE_GRACE_MS = 24 * 60 * 60 * 1000;

/**
 * A lease that was taken by a clock which was wrong by more is corrected. The reply's date alone leaves half a second
 * open, so less would correct clocks that are right; `clockSkewMs` has room for both.
 */
const MAX_GUESS_ERROR_MS = 500;

/** What an expression refers to. */
interface Used {
  /** `#name` to the attribute that it stands for. */
  readonly names: Record<string, string>;
  readonly valueNames: readonly string[];
}

export class Register {
  readonly #calls: Calls;
  readonly #options: RegisterOptions;
  /** By the text of the expressions, of which there are a handful. */
  readonly #used = new Map<string, Used>();

  constructor(calls: Calls, options: RegisterOptions) {
    this.#calls = calls;
    this.#options = options;
  }

  /** What stands under the key; never what is over. */
  async read(key: string, deadline: Deadline): Promise<Found | undefined> {
    const input = { ...this.#at(key), ConsistentRead: true };
    const { Item: item } = await this.#calls.send(GetItemCommand, input, deadline);
    const found = item && readItem(item);
    return found !== undefined && found.endsAt > this.#now() ? found : undefined;
  }

  /**
   * Takes an empty key, or tells what stands there. Either way, a lease under the owner's token is the owner's.
   *
   * Where DynamoDB's time is not known, at the start and after a freeze, it is one round trip all the same: a key that
   * nobody has is taken by this process's clock, and the reply says whether that was right.
   */
  async claim(
    owner: Owner,
    fingerprint: string,
    leaseMs: number,
    deadline: Deadline,
  ): Promise<Found> {
    if (this.#calls.clock.known) {
      return await this.#take(EMPTY, owner, fingerprint, this.#endOf(leaseMs), deadline);
    }
    const sentAt = performance.now();
    const guess = this.#endOf(leaseMs);
    const standing = await this.#take(ABSENT, owner, fingerprint, guess, deadline);
    // By a clock that may be wrong nothing is taken over.
    await this.#learnTime(owner.key, deadline);
    const endsAt = this.#endOf(leaseMs - (performance.now() - sentAt));
    if (standing.token === owner.token) {
      if (Math.abs(endsAt - guess) <= MAX_GUESS_ERROR_MS) return standing;
      const moved = await this.#move(MINE, owner, endsAt, deadline);
      if (moved.output !== undefined) return standing;
    } else if (standing.endsAt > this.#now()) return standing;
    return await this.#take(EMPTY, owner, fingerprint, endsAt, deadline);
  }

  async #take(
    condition: string,
    owner: Owner,
    fingerprint: string,
    endsAt: number,
    deadline: Deadline,
  ): Promise<Found> {
    const values = {
      ...this.#ends(endsAt, LEASE_GRACE_MS),
      ":fingerprint": { S: fingerprint },
      ":nothing": { S: "nothing" },
    };
    const input = { ...this.#at(owner.key), ...this.#if(condition, owner, CLAIM, values) };
    const done = await this.#write(
      UpdateItemCommand,
      { ...input, UpdateExpression: CLAIM, ReturnValues: "ALL_OLD" },
      deadline,
    );
    if (done.output === undefined) return standingIn(done.refusedBy);
    const takeover = done.output.Attributes?.["state"]?.S === "held";
    return { kind: "held", token: owner.token, endsAt, fingerprint, takeover };
  }

  /** Moves the end of a lease that is not over; `false` where it is not the owner's any more. */
  async extend(owner: Owner, leaseMs: number, deadline: Deadline): Promise<boolean> {
    const endsAt = await this.endOf(owner.key, leaseMs, deadline);
    const done = await this.#move(MINE_STILL, owner, endsAt, deadline);
    return done.output !== undefined;
  }

  async #move(condition: string, owner: Owner, endsAt: number, deadline: Deadline) {
    const values = this.#ends(endsAt, LEASE_GRACE_MS);
    const input = { ...this.#at(owner.key), ...this.#if(condition, owner, EXTEND, values) };
    return await this.#write(UpdateItemCommand, { ...input, UpdateExpression: EXTEND }, deadline);
  }

  /** Writes the record where the key is held under the token, or empty (`lapsed`); otherwise tells what stands there. */
  async complete(
    owner: Owner,
    record: Item,
    endsAt: number,
    deadline: Deadline,
  ): Promise<"completed" | "lapsed" | Found> {
    const put = this.#put(owner, record, endsAt, `(${MINE}) OR ${EMPTY}`);
    const input = { ...put, ReturnValues: "ALL_OLD" } as const;
    const { output, refusedBy } = await this.#write(PutItemCommand, input, deadline);
    if (output === undefined) return standingIn(refusedBy);
    return output.Attributes?.["token"]?.S === owner.token ? "completed" : "lapsed";
  }

  /** The same as a part of a transaction, for a lease that is not over. */
  completion(owner: Owner, record: Item, endsAt: number): Put {
    return this.#put(owner, record, endsAt, MINE_STILL);
  }

  /** Empties the key where it is held under the token. */
  async release(owner: Owner, deadline: Deadline): Promise<void> {
    const input = { ...this.#at(owner.key), ...this.#if(MINE, owner) };
    await this.#write(DeleteItemCommand, input, deadline);
  }

  /** Empties the key; tells whether anything stood there. Asked first, because a repeated deletion could not tell. */
  async delete(key: string, deadline: Deadline): Promise<boolean> {
    const standing = await this.read(key, deadline);
    if (standing !== undefined) await this.#calls.send(DeleteItemCommand, this.#at(key), deadline);
    return standing !== undefined;
  }

  /** When what begins now and takes so long is over: epoch milliseconds of DynamoDB's time. */
  async endOf(key: string, durationMs: number, deadline: Deadline): Promise<number> {
    await this.#learnTime(key, deadline);
    return this.#endOf(durationMs);
  }

  /** What ended before this is over: epoch milliseconds of DynamoDB's time. */
  async over(deadline: Deadline): Promise<number> {
    await this.#learnTime("any key will do", deadline);
    return this.#now();
  }

  /** How long a claim of what stands there has to wait. */
  restOf({ endsAt }: Found): number {
    const now = Math.round(this.#calls.clock.now());
    return Math.max(endsAt > now ? endsAt - now : endsAt - this.#now(), 1);
  }

  /** Where the names of this key's chunks begin. */
  nameOf(key: string): string {
    return this.#options.prefix + key;
  }

  /** Where DynamoDB's time is not known, a read tells it. */
  async #learnTime(key: string, deadline: Deadline): Promise<void> {
    if (!this.#calls.clock.known) await this.read(key, deadline);
  }

  #endOf(durationMs: number): number {
    return Math.round(this.#calls.clock.now() + durationMs);
  }

  /** Later by what clocks may differ, so that nobody takes for over what its holder still counts on. */
  #now(): number {
    return Math.round(this.#calls.clock.now()) - this.#options.clockSkewMs;
  }

  #at(key: string) {
    const { tableName: TableName, keyAttribute } = this.#options;
    return { TableName, Key: { [keyAttribute]: { S: this.nameOf(key) } } };
  }

  #put(owner: Owner, record: Item, endsAt: number, condition: string) {
    const { Key, TableName } = this.#at(owner.key);
    const { ":endsAt": end, ":ttl": ttl } = this.#ends(endsAt, this.#options.clockSkewMs);
    const token = { S: owner.token };
    const Item = { ...Key, [this.#options.ttlAttribute]: ttl, ...record, endsAt: end, token };
    return { TableName, Item, ...this.#if(condition, owner) };
  }

  /** DynamoDB deletes by whole seconds, and never shall before the end. */
  #ends(endsAt: number, graceMs: number) {
    const ttl = Math.ceil((endsAt + graceMs) / 1_000);
    return { ":endsAt": { N: `${endsAt}` }, ":ttl": { N: `${ttl}` } };
  }

  #if(condition: string, { token }: Owner, update = "", values: Item = {}) {
    const { names, valueNames } = this.#usedIn(`${condition} ${update}`);
    const known: Item = {
      ":held": { S: "held" },
      ":token": { S: token },
      ":now": { N: `${this.#now()}` },
      ...values,
    };
    return {
      ConditionExpression: condition,
      ExpressionAttributeNames: names,
      ExpressionAttributeValues: Object.fromEntries(
        valueNames.map((name) => [name, known[name] as AttributeValue]),
      ),
      ReturnValuesOnConditionCheckFailure: "ALL_OLD" as const,
    };
  }

  /** DynamoDB refuses names and values that no expression uses, so they are picked from the expressions, once. */
  #usedIn(expressions: string): Used {
    const known = this.#used.get(expressions);
    if (known !== undefined) return known;
    const { keyAttribute, ttlAttribute } = this.#options;
    const attributes: Used["names"] = { "#id": keyAttribute, "#ttl": ttlAttribute };
    const used = [...new Set(expressions.match(/[#:]\w+/g))];
    const names = used
      .filter((at) => at.startsWith("#"))
      .map((at) => [at, attributes[at] ?? at.slice(1)]);
    const valueNames = used.filter((at) => at.startsWith(":"));
    const found = { names: Object.fromEntries(names), valueNames };
    this.#used.set(expressions, found);
    return found;
  }

  /** Sends a conditional write. Where it is refused there is no output, but the item that stood there, if any. */
  async #write<Input, Output>(
    Request: new (input: Input) => Command<Output>,
    input: NoInfer<Input>,
    deadline: Deadline,
  ): Promise<{ readonly output?: Output; readonly refusedBy?: Item | undefined }> {
    try {
      return { output: await this.#calls.send(Request, input, deadline) };
    } catch (error) {
      if ((error as Error).name !== "ConditionalCheckFailedException") throw error;
      return { refusedBy: (error as { Item?: Item }).Item };
    }
  }
}

function standingIn(item: Item | undefined): Found {
  if (item !== undefined) return readItem(item);
  throw new StoreUnavailableError(
    "DynamoDB did not say what stands under a key: the endpoint does not support " +
      "ReturnValuesOnConditionCheckFailure.",
  );
}
