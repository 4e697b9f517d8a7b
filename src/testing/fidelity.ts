import { randomBytes } from "node:crypto";
import assert from "node:assert/strict";
import type { CachedResponse, HeaderFields, TombstoneReason } from "../store.js";
import {
  acquire,
  answer,
  complete,
  expectCompleted,
  expectSame,
  FINGERPRINT,
  forged,
  LONG_MS,
  type Rules,
  type Stage,
} from "./stage.js";

const EVERY_LATIN1_CHARACTER = String.fromCharCode(
  ...Array.from({ length: 0xff - 0x1f }, (_, at) => at + 0x20),
);

const FIELDS: HeaderFields = [
  ["Set-Cookie", "a=1; Path=/"],
  ["X-ORDER", "second"],
  ["set-cookie", "b=2"],
  ["X-Order", "fourth"],
  ["Set-Cookie", "a=1; Path=/"],
  ["X-Empty", ""],
  ["X-Spaces", "  kept  "],
  ["X-Quotes", `"'\\,;{}[]`],
  ["X-Latin1", EVERY_LATIN1_CHARACTER],
  ["X-Unicode", "€ 日本 🙂"],
  ["__proto__", "a name like any other"],
];

export const fidelity: Rules = {
  "status, message, times and fingerprint come back exactly": async (stage) => {
    const ttlMs = 12_345;
    for (const statusCode of [100, 204, 302, 599, 999]) {
      const statusMessage = `Très Well ${statusCode}`;
      const response = answer({ statusCode, statusMessage, fingerprint: "other" }, ttlMs);
      await roundTrip(stage, response, `${statusCode}`, ttlMs);
    }
    await roundTrip(stage, answer({ statusMessage: "" }), "empty-message");
  },

  "headers keep order, case, repetitions and every character": async (stage) => {
    await roundTrip(stage, answer({ headers: FIELDS }), "many");
    await roundTrip(stage, answer({ headers: [] }), "none");
    const long: HeaderFields = [["X-Long", "x".repeat(20_000)]];
    await roundTrip(stage, answer({ headers: long }), "long");
  },

  "trailers come back like headers, and an empty list is not none": async (stage) => {
    await roundTrip(stage, answer({ trailers: FIELDS }), "many");
    await roundTrip(stage, answer({ trailers: [] }), "empty");
    const headers: HeaderFields = [["A", "1"]];
    await roundTrip(stage, answer({ headers, trailers: [["B", "2"]] }), "both");
  },

  "a body of any bytes comes back exactly": async (stage) => {
    const everyByte = Uint8Array.from({ length: 256 }, (_, at) => at);
    await roundTrip(stage, answer({ body: everyByte }), "every-byte");
    await roundTrip(stage, answer({ body: Buffer.from([0x00, 0xff, 0xfe, 0x80, 0x41]) }), "bytes");
    await roundTrip(stage, answer({ body: Buffer.from("Grüße 🙂\r\n\0") }), "text");
  },

  "an empty body comes back empty": async (stage) => {
    await roundTrip(stage, answer({ body: new Uint8Array() }));
  },

  "a body of 1 MiB comes back exactly": async (stage) => {
    await roundTrip(stage, answer({ body: randomBytes(2 ** 20) }));
  },

  "of a body that is a part of a larger buffer only that part is kept": async (stage) => {
    const larger = Buffer.from("before|the body|after");
    await roundTrip(stage, answer({ body: larger.subarray(7, 15) }));
  },

  "a tombstone comes back with its reason": async (stage) => {
    const reasons: TombstoneReason[] = ["too-large", "streamed", "not-storable"];
    for (const tombstone of reasons) {
      const response = answer({ tombstone, headers: [], body: new Uint8Array() });
      await roundTrip(stage, response, tombstone);
    }
  },

  "what was given may be changed afterwards without changing the record": async ({
    store,
    key,
  }) => {
    const { given, mutate } = mutable();
    const original = structuredClone(given);
    await complete(store, await acquire(store, key()), given);
    mutate();
    await expectCompleted(store, key(), original);
  },

  "what was returned may be changed without changing the record": async ({ store, key }) => {
    const { given } = mutable();
    const original = structuredClone(given);
    const lease = await acquire(store, key());
    await complete(store, lease, given);
    const claim = await store.lock(key(), FINGERPRINT, LONG_MS);
    assert.equal(claim.state, "completed");
    const lost = await store.set(forged(lease), answer(), LONG_MS);
    const copies = [
      await store.get(key()),
      claim.response,
      lost.state === "lost" ? lost.winner : undefined,
    ];
    for (const copy of copies) {
      expectSame(copy, original);
      if (copy === undefined) continue;
      copy.body.fill(0);
      (copy.headers as [string, string][]).length = 0;
    }
    await expectCompleted(store, key(), original);
  },
};

async function roundTrip(
  { store, key }: Stage,
  response: CachedResponse,
  label?: string,
  ttlMs = LONG_MS,
): Promise<void> {
  const lease = await acquire(store, key(label));
  await complete(store, lease, response, ttlMs);
  await expectCompleted(store, key(label), response);
  const lost = await store.set(forged(lease), answer(), LONG_MS);
  expectSame(lost.state === "lost" ? lost.winner : undefined, response);
}

function mutable() {
  const body = Buffer.from("the first body");
  const field: [string, string] = ["X-First", "value"];
  const headers = [field];
  const mutate = (): void => {
    body.fill(0);
    field[1] = "changed";
    headers.push(["X-Second", "value"]);
  };
  return { given: answer({ body, headers }), mutate };
}
