import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { StoreUnavailableError } from "../../src/errors.js";
import type { CachedResponse } from "../../src/store.js";
import {
  decodeRecord,
  encodeRecord,
  TOKEN_OFFSET,
  type StoredRecord,
} from "../../stores/record.js";

const latin1 = fc
  .array(fc.integer({ min: 0, max: 255 }), { maxLength: 300 })
  .map((codes) => String.fromCharCode(...codes));
// Lone surrogates and all.
const anyString = fc
  .array(fc.integer({ min: 0, max: 0xffff }), { maxLength: 20 })
  .map((codes) => String.fromCharCode(...codes));
const text = fc.oneof({ weight: 4, arbitrary: latin1 }, fc.string(), anyString);
const fields = fc.array(fc.tuple(text, text), { maxLength: 5 });
const moment = fc.oneof(fc.nat(), fc.double({ noNaN: true, noDefaultInfinity: true }));

const response: fc.Arbitrary<CachedResponse> = fc.record(
  {
    statusCode: fc.integer({ min: 100, max: 999 }),
    statusMessage: text,
    headers: fields,
    body: fc.uint8Array({ maxLength: 300 }),
    trailers: fields,
    timestamp: moment,
    expiresAt: moment,
    fingerprint: text,
    tombstone: fc.constantFrom("too-large", "streamed", "not-storable"),
  },
  {
    requiredKeys: ["statusCode", "headers", "body", "timestamp", "expiresAt", "fingerprint"],
    noNullPrototype: true,
  },
);
const record: fc.Arbitrary<StoredRecord> = fc.record(
  {
    token: fc.oneof(
      fc.uuid(),
      latin1.map((token) => token.slice(0, 255)),
    ),
    response,
  },
  { noNullPrototype: true },
);

const sample: StoredRecord = {
  token: "0123456789abcdef",
  response: {
    statusCode: 201,
    statusMessage: "Made",
    headers: [["Location", "/1"]],
    body: Buffer.from("body"),
    trailers: [["T", "é"]],
    timestamp: 1_700_000_000_000,
    expiresAt: 1_700_000_060_000,
    fingerprint: "fp",
    tombstone: "streamed",
  },
};

function plain({ token, response: { body, ...rest } }: StoredRecord): object {
  return { token, ...rest, body: Buffer.from(body).toString("hex") };
}

/** What decoding comes to: a record that can be encoded again, or the one exception it may throw. */
function outcome(bytes: Uint8Array): string {
  try {
    encodeRecord(decodeRecord(bytes));
    return "valid";
  } catch (error) {
    if (error instanceof StoreUnavailableError) return error.message;
    throw error;
  }
}

const VALID_OR_REFUSED = /^valid$|^A stored record cannot be read/;

function changed(at: number, value: number): Buffer {
  const frame = encodeRecord(sample);
  frame[at] = value;
  return frame;
}

describe("a record's frame", () => {
  it("brings every record back exactly", () => {
    fc.assert(
      fc.property(record, (given) => {
        expect(plain(decodeRecord(encodeRecord(given)))).toEqual(plain(given));
      }),
      { numRuns: 500 },
    );
  });

  it("brings a record back from anywhere in a larger buffer, of any kind", () => {
    fc.assert(
      fc.property(record, fc.nat({ max: 9 }), (given, before) => {
        const frame = encodeRecord(given);
        const larger = new Uint8Array(before + frame.length + 7);
        larger.set(frame, before);
        const view = larger.subarray(before, before + frame.length);
        expect(plain(decodeRecord(view))).toEqual(plain(given));
      }),
      { numRuns: 50 },
    );
  });

  it("does not copy the body", () => {
    const frame = encodeRecord(sample);
    const { body } = decodeRecord(frame).response;
    frame[frame.length - 1] = 0;
    expect(Buffer.from(body).toString("latin1")).toBe("bod\0");
  });

  it("is the same for the same record, wherever its parts come from", () => {
    const body = Buffer.from("the body of it").subarray(4, 8);
    const same = { ...sample, response: { ...sample.response, body: new Uint8Array(body) } };
    expect(encodeRecord(same).equals(encodeRecord(sample))).toBe(true);
  });

  it("keeps this layout: what is stored today must be readable tomorrow", () => {
    expect(encodeRecord(sample).toString("hex")).toBe(
      [
        "d1010e10", // magic, version 1, flags, token length
        "00c9", // status
        "4278bcfe56800000",
        "4278bcfe65260000", // timestamp, expiresAt
        "00000004", // body length
        "462bc10e", // CRC-32 of the rest
        Buffer.from("0123456789abcdef").toString("hex"),
        "0204010802010101", // table
        Buffer.from("fpMadeLocation/1Té", "latin1").toString("hex"),
        Buffer.from("body").toString("hex"),
      ].join(""),
    );
  });

  it("has its token where a script in a server can find it", () => {
    const frame = encodeRecord(sample);
    const end = TOKEN_OFFSET + (frame[3] ?? 0);
    expect(frame.toString("latin1", TOKEN_OFFSET, end)).toBe(sample.token);
  });

  it.each([127, 128, 2 ** 14 - 1, 2 ** 14, 2 ** 21 - 1, 2 ** 21])(
    "keeps a header of %d characters",
    (length) => {
      const value = "x".repeat(length);
      const given = {
        ...sample,
        response: { ...sample.response, headers: [["X", value]] as const },
      };
      expect(decodeRecord(encodeRecord(given)).response.headers[0]?.[1] === value).toBe(true);
    },
  );

  it("takes its memory from where it is told to", () => {
    const own = encodeRecord(sample, (size) => Buffer.alloc(size));
    expect(own.buffer.byteLength).toBe(own.length);
  });
});

describe("a frame that is not whole or not ours", () => {
  it("is refused at every length but its own", () => {
    fc.assert(
      fc.property(record, fc.uint8Array({ minLength: 1, maxLength: 4 }), (given, tail) => {
        const frame = encodeRecord(given);
        for (let length = 0; length < frame.length; length += 1) {
          expect(() => decodeRecord(frame.subarray(0, length))).toThrow(StoreUnavailableError);
        }
        expect(() => decodeRecord(Buffer.concat([frame, tail]))).toThrow(StoreUnavailableError);
      }),
      { numRuns: 50 },
    );
  });

  it("is refused whichever of its bits are flipped, in the body too", () => {
    const flips = fc.uniqueArray(fc.nat(), { minLength: 1, maxLength: 3 });
    fc.assert(
      fc.property(record, flips, (given, bits) => {
        const frame = encodeRecord(given);
        const flipped = new Set(bits.map((bit) => bit % (frame.length * 8)));
        for (const bit of flipped)
          frame.writeUInt8(frame.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
        expect(() => decodeRecord(frame)).toThrow(StoreUnavailableError);
      }),
      { numRuns: 1_000 },
    );
  });

  it("is refused or decodes to something valid, whatever bytes are changed", () => {
    const change = fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 }));
    fc.assert(
      fc.property(record, fc.array(change, { minLength: 1, maxLength: 4 }), (given, changes) => {
        const frame = encodeRecord(given);
        // The head and the table come first, and are where a change does most.
        for (const [at, value] of changes) frame[at % Math.min(frame.length, 120)] = value;
        expect(outcome(frame)).toMatch(VALID_OR_REFUSED);
      }),
      { numRuns: 3_000 },
    );
  });

  it("is refused or decodes to something valid, whatever follows a right beginning", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 80 }), (bytes) => {
        const frame = Buffer.concat([Buffer.from([0xd1, 1]), bytes]);
        expect(outcome(frame)).toMatch(VALID_OR_REFUSED);
      }),
      { numRuns: 2_000 },
    );
  });

  it.each([
    ["text of another program", Buffer.from('{"status":201}'), /not written by idempotency-kit/],
    ["another version", changed(1, 2), /another version .* \(format 2, this one reads 1\)/],
    ["nothing at all", Buffer.alloc(0), /cut short/],
    ["a head that ends early", encodeRecord(sample).subarray(0, TOKEN_OFFSET - 1), /cut short/],
    ["a token that ends late", changed(3, 255), /cut short|add up/],
    ["unknown flags", changed(2, 32), /flags 32 are unknown/],
    ["status 0", changed(4, 0xff), /status code is 65481/],
    ["a time that is none", changed(6, 0x7f).fill(0xff, 6, 14), /timestamp NaN/],
    ["a body that is not there", changed(22, 0xff), /lengths add up/],
    ["another body", changed(encodeRecord(sample).length - 1, 0), /checksum is wrong/],
    ["another checksum", changed(26, 0), /checksum is wrong/],
    ["a wrong text length", changed(TOKEN_OFFSET + 16, 3), /lengths add up/],
    ["a length beyond all", changed(0, 0xd1).fill(0xff, TOKEN_OFFSET + 16), /out of range/],
  ])("tells what is wrong: %s", (_what, bytes, message) => {
    expect(() => decodeRecord(bytes)).toThrow(StoreUnavailableError);
    expect(outcome(bytes)).toMatch(message);
    expect(outcome(bytes)).toMatch(/Delete its key only if the request may run again/);
  });

  it("costs no memory by the lengths it claims", () => {
    const frame = encodeRecord(sample);
    const counts = TOKEN_OFFSET + 16 + 2;
    // A billion header fields, in five bytes.
    Buffer.from([0xff, 0xff, 0xff, 0xff, 0x03]).copy(frame, counts);
    expect(outcome(frame)).toMatch(/cut short/);
  });
});

describe("a record that could not be read again", () => {
  it.each<[string, Partial<CachedResponse>, RegExp]>([
    ["status 99", { statusCode: 99 }, /status code is 99,/],
    ["status 1000", { statusCode: 1000 }, /status code is 1000,/],
    ["status 200.5", { statusCode: 200.5 }, /status code is 200.5,/],
    ["no timestamp", { timestamp: Number.NaN }, /timestamp NaN/],
    ["no end", { expiresAt: Number.POSITIVE_INFINITY }, /expiresAt Infinity/],
    ["an unknown tombstone", { tombstone: "lost" as "streamed" }, /tombstone 'lost'/],
  ])("is not encoded: %s", (_what, part, message) => {
    const given = { ...sample, response: { ...sample.response, ...part } };
    expect(() => encodeRecord(given)).toThrow(RangeError);
    expect(() => encodeRecord(given)).toThrow(message);
  });

  it.each([["x".repeat(256)], ["€"]])("is not encoded with the token %s", (token) => {
    expect(() => encodeRecord({ ...sample, token })).toThrow(/at most 255 latin1 characters/);
  });
});
