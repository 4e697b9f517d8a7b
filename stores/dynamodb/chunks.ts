/**
 * Records too large for their key's item, in items of their own. Their names hold the token and the content's hash, so
 * that no other holder and no other content of the same one can overwrite them: writing them again changes nothing. They
 * are written before the item that leads to them; those that nothing leads to are deleted by their TTL.
 */
import { createHash } from "node:crypto";
import { BatchGetItemCommand, PutItemCommand } from "@aws-sdk/client-dynamodb";
import { StoreUnavailableError } from "../../src/errors.js";
import { backOff, type Calls, type Deadline } from "./calls.js";
import type { Chunked, Item } from "./item.js";

export interface ChunkTable {
  readonly tableName: string;
  readonly keyAttribute: string;
  readonly ttlAttribute: string;
}

/** An item ends at 400 KB, names and values; the longest key leaves room for this. */
const CHUNK_BYTES = 350 * 1024;

/** What one BatchGetItem takes. */
const MOST_KEYS = 100;

/** Enough of the hash that two contents of one token never share a name. */
const HASH_DIGITS = 16;

/** No chunk may go before the item that leads to it, and DynamoDB deletes the two at different times. */
const GRACE_MS = 24 * 60 * 60 * 1000;

export class Chunks {
  readonly #calls: Calls;
  readonly #table: ChunkTable;

  constructor(calls: Calls, table: ChunkTable) {
    this.#calls = calls;
    this.#table = table;
  }

  /** @param endsAt Of the record that they belong to, in epoch milliseconds. */
  async write(
    name: string,
    token: string,
    bytes: Uint8Array,
    endsAt: number,
    deadline: Deadline,
  ): Promise<Chunked> {
    const ttl = Math.ceil((endsAt + GRACE_MS) / 1_000);
    const sha256 = createHash("sha256").update(bytes).digest();
    const count = Math.ceil(bytes.length / CHUNK_BYTES);
    const { tableName: TableName, keyAttribute, ttlAttribute } = this.#table;
    const puts = idsOf(name, token, { count, sha256 }).map((id, at) => {
      const part = bytes.subarray(at * CHUNK_BYTES, (at + 1) * CHUNK_BYTES);
      const Item = {
        [keyAttribute]: { S: id },
        part: { B: part },
        [ttlAttribute]: { N: `${ttl}` },
      };
      return this.#calls.send(PutItemCommand, { TableName, Item }, deadline, true);
    });
    await Promise.all(puts);
    return { count, sha256 };
  }

  /** @throws {StoreUnavailableError} where one is missing or they are not what was written. */
  async read(name: string, token: string, place: Chunked, deadline: Deadline): Promise<Uint8Array> {
    const ids = idsOf(name, token, place);
    const found = new Map<string, Uint8Array>();
    for (let from = 0; from < ids.length; from += MOST_KEYS) {
      await this.#fetch(ids.slice(from, from + MOST_KEYS), found, deadline);
    }
    const parts = ids.map((id) => found.get(id) ?? missing());
    const bytes = Buffer.concat(parts);
    const sha256 = createHash("sha256").update(bytes).digest();
    if (!sha256.equals(place.sha256)) throw damaged("its parts are not what was written");
    return bytes;
  }

  /** One reply has at most 16 MB: what is left over is asked for again. */
  async #fetch(
    ids: readonly string[],
    found: Map<string, Uint8Array>,
    deadline: Deadline,
  ): Promise<void> {
    const { tableName, keyAttribute } = this.#table;
    let keys: Item[] = ids.map((id) => ({ [keyAttribute]: { S: id } }));
    for (let attempt = 1; ; attempt += 1) {
      const RequestItems = { [tableName]: { Keys: keys, ConsistentRead: true } };
      const output = await this.#calls.send(BatchGetItemCommand, { RequestItems }, deadline, true);
      for (const item of output.Responses?.[tableName] ?? []) {
        const id = item[keyAttribute]?.S;
        const part = item["part"]?.B;
        if (id !== undefined && part !== undefined) found.set(id, part);
      }
      const left = output.UnprocessedKeys?.[tableName]?.Keys ?? [];
      if (left.length === 0) return;
      // A reply that brought something is followed at once; one that brought nothing means that we are too fast.
      if (left.length < keys.length) attempt = 0;
      else if (!(await backOff(attempt, deadline))) throw throttled();
      keys = left;
    }
  }
}

/** Keys hold no spaces, so no key is the name of a chunk. */
function idsOf(name: string, token: string, { count, sha256 }: Chunked): string[] {
  const hash = Buffer.from(sha256).toString("hex").slice(0, HASH_DIGITS);
  return Array.from({ length: count }, (_, at) => `${name} ${token} ${hash} ${at}`);
}

function missing(): never {
  throw damaged("a part of it is missing");
}

function damaged(what: string): StoreUnavailableError {
  return new StoreUnavailableError(
    `A stored record is damaged: ${what}. Find out what else writes to the table or deletes from it. ` +
      "Delete its key only if the request may run again.",
  );
}

function throttled(): StoreUnavailableError {
  return new StoreUnavailableError(
    "DynamoDB gave no part of a stored record in time: its table is throttled. Raise the table's capacity.",
  );
}
