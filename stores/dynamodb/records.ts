/** Responses as they lie in the table: framed, packed, in the item of their key or in chunks; and back. */
import { StoreUnavailableError } from "../../src/errors.js";
import type { CachedResponse } from "../../src/store.js";
import { decodeRecord, encodeRecord } from "../record.js";
import type { Deadline } from "./calls.js";
import type { Chunks } from "./chunks.js";
import { recordAttributes, type Completed, type Item } from "./item.js";
import { pack, unpack } from "./pack.js";
import type { Owner, Register } from "./register.js";

export interface RecordLimits {
  readonly maxInlineBytes: number;
  readonly maxRecordBytes: number;
}

export class Records {
  readonly #chunks: Chunks;
  readonly #register: Register;
  readonly #limits: RecordLimits;

  constructor(chunks: Chunks, register: Register, limits: RecordLimits) {
    this.#chunks = chunks;
    this.#register = register;
    this.#limits = limits;
  }

  /** Writes the chunks of a large record; what it resolves to belongs into the key's item, and leads to them. */
  async write(
    { key, token }: Owner,
    response: CachedResponse,
    endsAt: number,
    deadline: Deadline,
  ): Promise<Item> {
    const packed = await pack(this.#frame(token, response), isEncoded(response));
    if (packed.bytes.length <= this.#limits.maxInlineBytes) return recordAttributes(packed, packed);
    const name = this.#register.nameOf(key);
    const place = await this.#chunks.write(name, token, packed.bytes, endsAt, deadline);
    return recordAttributes(packed, place);
  }

  /** @throws {StoreUnavailableError} where any of it is missing or is not what was written. */
  async read(
    key: string,
    { token, size, encoding, place }: Completed,
    deadline: Deadline,
  ): Promise<CachedResponse> {
    const bytes =
      "bytes" in place
        ? place.bytes
        : await this.#chunks.read(this.#register.nameOf(key), token, place, deadline);
    const record = decodeRecord(await unpack({ bytes, encoding, size }));
    if (record.token === token) return record.response;
    throw new StoreUnavailableError(
      "A stored record is not the one that its key's item says. Find out what else writes to the table.",
    );
  }

  #frame(token: string, response: CachedResponse): Buffer {
    const frame = encodeRecord({ token, response });
    if (frame.length <= this.#limits.maxRecordBytes) return frame;
    warn(frame.length, this.#limits.maxRecordBytes);
    return encodeRecord({ token, response: tombstoneOf(response) });
  }
}

/** Packing again what is packed already costs time and saves nothing. */
function isEncoded({ headers }: CachedResponse): boolean {
  return headers.some(([name]) => name.toLowerCase() === "content-encoding");
}

function tombstoneOf(response: CachedResponse): CachedResponse {
  const { statusCode, timestamp, expiresAt, fingerprint } = response;
  const body = new Uint8Array();
  return {
    statusCode,
    headers: [],
    body,
    timestamp,
    expiresAt,
    fingerprint,
    tombstone: "too-large",
  };
}

function warn(bytes: number, maxRecordBytes: number): void {
  process.emitWarning(
    `A response of ${bytes} bytes is larger than maxRecordBytes (${maxRecordBytes}) of the DynamoDB store: ` +
      "it is not replayed. Raise it, or lower maxResponseBytes of the middleware.",
    { code: "IDEMPOTENCY_DYNAMODB_TOO_LARGE" },
  );
}
