/** What an encrypted store hides, what it notices, and how keys rotate. */
import { randomBytes, randomUUID } from "node:crypto";
import { describe, expect, it, onTestFinished, test } from "vitest";
import { startMasters } from "../../infra/services/redis.js";
import { idempotency, type CachedResponse, type Store } from "../../src/index.js";
import { answer, FINGERPRINT, LONG_MS } from "../../src/testing/stage.js";
import { encryptedStore, type EncryptionOptions } from "../../stores/encrypted.js";
import { memoryStore } from "../../stores/memory.js";
import { ready } from "../../stores/redis.js";
import {
  acquired,
  completed,
  failure,
  party,
  PATIENT,
  proxied,
  three,
  warm,
} from "../redlock/stage.js";
import { listen } from "../support/events.js";
import { ledgerStore } from "../support/ledger-store.js";
import { serve } from "../support/http.js";
import { rings } from "./keys.js";

const secret = answer({
  statusCode: 402,
  statusMessage: "Secret Reason",
  headers: [["X-Secret-Name", "secret value"]],
  body: Buffer.from("secret body"),
  trailers: [["X-Secret-Trailer", "secret end"]],
});

/** A plain store with one record of an encrypted one in it. */
async function stored(response = secret, ring: EncryptionOptions = rings.first) {
  const inner = memoryStore();
  const store = encryptedStore(inner, ring);
  const key = randomUUID();
  const lease = await acquired(store.lock(key, FINGERPRINT, LONG_MS));
  expect(await store.set(lease, response, LONG_MS)).toEqual({ state: "stored" });
  const sealed = await inner.get(key);
  if (sealed === undefined) throw new Error("The inner store should have the record.");
  return { inner, store, key, lease, sealed };
}

/** A store that only ever answers with this record, as a tampered one would. */
function answering(response: CachedResponse): Store {
  return {
    ...memoryStore(),
    get: async () => response,
    lock: async () => ({ state: "completed", response }),
    set: async () => ({ state: "lost", winner: response }),
  };
}

function changed(bytes: Uint8Array, at: number): Buffer {
  const copy = Buffer.from(bytes);
  copy[at] = (copy[at] ?? 0) ^ 1;
  return copy;
}

describe("what the store gets", () => {
  it("says nothing of reason, headers, body and trailers, and all that stores need", async () => {
    const { sealed } = await stored();
    const { body, ...readable } = sealed;
    const { statusCode, timestamp, expiresAt, fingerprint } = secret;
    expect(readable).toEqual({ statusCode, timestamp, expiresAt, fingerprint, headers: [] });
    expect(Buffer.from(body).toString("latin1")).not.toMatch(/secret/i);
  });

  it("differs each time, for the same response", async () => {
    const [one, two] = [await stored({ ...secret }), await stored({ ...secret })];
    expect(one.sealed.body.length).toBe(two.sealed.body.length);
    expect(one.sealed.body).not.toEqual(two.sealed.body);
  });

  it("is the tombstone itself where the response was not kept", async () => {
    const tombstone = answer({ tombstone: "streamed", headers: [], body: new Uint8Array() });
    const { sealed, store, key } = await stored(tombstone);
    expect(sealed).toMatchObject({ tombstone: "streamed", statusCode: 201 });
    expect(await store.get(key)).toEqual(sealed);
  });
});

describe("a store that has no room for a response", () => {
  it("leaves a tombstone that tells the true status", async () => {
    const inner = memoryStore({ maxBytes: 16 * 1024, onEvict: () => {} });
    const store = encryptedStore(inner, rings.first);
    const lease = await acquired(store.lock("k", FINGERPRINT, LONG_MS));
    await store.set(lease, { ...secret, body: randomBytes(8 * 1024) }, LONG_MS);
    expect(await store.get("k")).toMatchObject({ tombstone: "too-large", statusCode: 402 });
  });
});

describe("a record is refused, and its request not run again,", () => {
  const CHANGES: Readonly<Record<string, (sealed: CachedResponse) => Partial<CachedResponse>>> = {
    "whose status was changed": () => ({ statusCode: 201 }),
    "whose expiry was put off": ({ expiresAt }) => ({ expiresAt: expiresAt + 1 }),
    "whose time was changed": ({ timestamp }) => ({ timestamp: timestamp - 1 }),
    "whose fingerprint was changed": () => ({ fingerprint: "other" }),
    "that was given a header": () => ({ headers: [["Set-Cookie", "a=1"]] }),
    "that lost its last byte": ({ body }) => ({ body: body.subarray(0, -1) }),
    "that got another byte": ({ body }) => ({ body: Buffer.concat([body, Buffer.alloc(1)]) }),
    "that is empty": () => ({ body: new Uint8Array() }),
    "that ends with its nonce": ({ body }) => ({ body: body.subarray(0, 8 + 1 + 7 + 12) }),
  };

  it.each(Object.entries(CHANGES))("%s", async (_, change) => {
    const { key, sealed } = await stored();
    expect(await refusal(key, { ...sealed, ...change(sealed) })).toMatch(REFUSED);
  });

  it("of which any one byte was changed", async () => {
    const { key, sealed } = await stored();
    expect(sealed.body.length).toBeGreaterThan(100);
    for (let at = 0; at < sealed.body.length; at += 1) {
      expect(await refusal(key, { ...sealed, body: changed(sealed.body, at) })).toMatch(REFUSED);
    }
  });

  it("that was moved to another key", async () => {
    const { sealed } = await stored();
    expect(await refusal(randomUUID(), sealed)).toMatch(/belongs to another key of the store/);
  });

  it("that is made of two good ones", async () => {
    const [one, two] = [await stored({ ...secret }), await stored({ ...secret })];
    const half = one.sealed.body.length / 2;
    const body = Buffer.concat([one.sealed.body.subarray(0, half), two.sealed.body.subarray(half)]);
    expect(await refusal(one.key, { ...one.sealed, body })).toMatch(REFUSED);
  });

  it("that was written with another key under the same id", async () => {
    const { key, sealed } = await stored();
    const message = await refusal(key, sealed, rings.mistaken);
    expect(message).toMatch(/'2026-11' was another key/);
  });

  it("that was written with a key that is not known, and says which", async () => {
    const { key, sealed } = await stored();
    const message = await refusal(key, sealed, rings.second);
    expect(message).toMatch(/key '2026-11', which is not one of keys\. Add/);
  });

  it("that is not encrypted", async () => {
    expect(await refusal("k", secret)).toMatch(/is not encrypted\. .*acceptUnencrypted/);
  });

  const REFUSED = /^A stored record .* Delete its key only if the request may run again\.$/;

  /** The one error of every verb that answers with a record. */
  async function refusal(
    key: string,
    record: CachedResponse,
    ring: EncryptionOptions = rings.first,
  ): Promise<string> {
    const store = encryptedStore(answering(record), ring);
    const lease = { key, token: "t", fingerprint: FINGERPRINT, validUntil: 0 };
    const errors = await Promise.all([
      failure(store.get(key)),
      failure(store.lock(key, FINGERPRINT, LONG_MS)),
      failure(store.set(lease, answer(), LONG_MS)),
    ]);
    const texts = new Set(errors.map(({ code, message }) => `${code}: ${message}`));
    expect(texts.size).toBe(1);
    const [, message = ""] = /^STORE_UNAVAILABLE: (.*)$/.exec([...texts].join("")) ?? [];
    expect(message).not.toMatch(/secret/i);
    return message;
  }
});

test("a tampered record is a 503 for clients, and words for operators", async () => {
  const inner = memoryStore();
  const errors: unknown[] = [];
  let runs = 0;
  const tampering: Store = {
    ...inner,
    lock: async (...claim) => {
      const result = await inner.lock(...claim);
      if (result.state !== "completed") return result;
      const { response } = result;
      return { ...result, response: { ...response, statusCode: 200 } };
    },
  };
  const safe = idempotency(encryptedStore(tampering, rings.first), {
    onError: (error) => errors.push(error),
  });
  await using server = await serve(
    safe.wrap((_, res) => {
      runs += 1;
      res.writeHead(402).end("declined");
    }),
  );

  expect((await server.send({ key: "k" })).text).toBe("declined");
  const retry = await server.send({ key: "k" });

  expect(retry.status).toBe(503);
  expect(retry.text).not.toMatch(/authentication/);
  expect(errors).toMatchObject([{ message: expect.stringMatching(/fails its authentication/) }]);
  expect(runs).toBe(1);
});

describe("rotation", () => {
  it("goes in steps, each process for itself, and every record is read throughout", async () => {
    const { inner, key } = await stored();
    const read = (ring: EncryptionOptions) => encryptedStore(inner, ring).get(key);
    for (const ring of [rings.first, rings.prepared, rings.rotated]) {
      expect(await read(ring)).toEqual(secret);
    }
    const after = await stored(secret, rings.rotated);
    for (const ring of [rings.prepared, rings.rotated, rings.second]) {
      expect(await encryptedStore(after.inner, ring).get(after.key)).toEqual(secret);
    }
  });

  it("takes in records from before encryption, where that is asked for, and encrypts new ones", async () => {
    const inner = memoryStore();
    const lease = await acquired(inner.lock("old", FINGERPRINT, LONG_MS));
    await inner.set(lease, secret, LONG_MS);
    const store = encryptedStore(inner, { ...rings.first, acceptUnencrypted: true });
    expect(await completed(store.lock("old", FINGERPRINT, LONG_MS))).toEqual(secret);

    const next = await acquired(store.lock("new", FINGERPRINT, LONG_MS));
    await store.set(next, { ...secret }, LONG_MS);
    expect(await store.get("new")).toEqual(secret);
    expect(Buffer.from((await inner.get("new"))?.body ?? []).includes("secret")).toBe(false);
  });
});

test("an offer repeated after an outage has the same bytes: what a quorum has of the first counts", async () => {
  const masters = await startMasters(3);
  onTestFinished(async () => {
    await masters.close();
  });
  await warm(masters.nodes);
  const {
    store: quorum,
    proxies,
    clients,
  } = await proxied(masters.nodes, {
    connect: PATIENT,
    nodeTimeoutMs: 5_000,
  });
  const [, two, third] = three(proxies);
  const store = encryptedStore(quorum, rings.first);
  const response = answer();
  const lease = await acquired(store.lock("k", FINGERPRINT, LONG_MS));

  // The first offer reaches one node, the second that and another: a majority, if they hold the same.
  await Promise.all([two.refuse(), third.refuse()]);
  await failure(store.set(lease, response, LONG_MS));
  await two.heal();
  await ready(three(clients)[1]);
  expect(await store.set(lease, response, LONG_MS)).toEqual({ state: "stored" });

  const { store: reader } = await party(masters.nodes);
  expect(await encryptedStore(reader, rings.first).get("k")).toEqual(response);
});

test("a response that could not be stored at first is stored and read encrypted", async () => {
  using events = listen();
  const inner = memoryStore();
  let outages = 1;
  const failing: Store = {
    ...inner,
    set: async (...args) => {
      if (outages-- > 0) throw new Error("ECONNRESET");
      return await inner.set(...args);
    },
  };
  const safe = idempotency(encryptedStore(failing, rings.first), {
    leaseMs: 300,
    onError: () => {},
  });
  await using server = await serve(safe.wrap((_, res) => res.end("once")));
  const settled = events.next("response-settled");

  expect((await server.send({ key: "k" })).status).toBe(503);
  await settled;
  expect((await server.send({ key: "k" })).text).toBe("once");
});

describe("options", () => {
  const good = randomBytes(32);
  const make = (options: unknown) => encryptedStore(memoryStore(), options as EncryptionOptions);

  it("take keys as bytes or in base64, and as they are now", async () => {
    const bytes = Uint8Array.from(good);
    const inner = memoryStore();
    const store = encryptedStore(inner, { keys: { k: bytes }, current: "k" });
    bytes.fill(0);
    const lease = await acquired(store.lock("k", FINGERPRINT, LONG_MS));
    await store.set(lease, secret, LONG_MS);
    const text = encryptedStore(inner, { keys: { k: good.toString("base64") }, current: "k" });
    expect(await text.get("k")).toEqual(secret);
  });

  it.each<[string, unknown]>([
    ["none", undefined],
    ["no keys", { keys: {}, current: "k" }],
    ["a short key", { keys: { k: good.subarray(1) }, current: "k" }],
    ["a key in hex", { keys: { k: good.toString("hex") }, current: "k" }],
    ["a key in base64 that is too long", { keys: { k: randomBytes(33).toString("base64") } }],
    ["an empty key", { keys: { k: "" }, current: "k" }],
    ["no current key", { keys: { k: good } }],
    ["a current key that is not there", { keys: { k: good }, current: "other" }],
    ["an inherited name", { keys: { k: good }, current: "toString" }],
    ["an id with a space", { keys: { "k 1": good }, current: "k 1" }],
  ])("are refused: %s", (_, options) => {
    expect(() => make(options)).toThrow(
      expect.objectContaining({ code: "OPTIONS_INVALID" }) as Error,
    );
  });

  it("never show a key, wherever it was put", () => {
    const key = good.toString("base64");
    for (const options of [
      { keys: { k: key.slice(1) }, current: "k" },
      { keys: { k: key }, current: key },
      { keys: key, current: "k" },
      { keys: { [key]: "k" }, current: "k" },
    ]) {
      expect(() => make(options)).toThrow(
        expect.objectContaining({
          message: expect.not.stringContaining(key.slice(1, 20)) as string,
        }) as Error,
      );
    }
  });

  it("refuse what is no store", () => {
    expect(() => encryptedStore({} as Store, rings.first)).toThrow(/must be a store/);
  });
});

test("whoever reads the store without keys takes an encrypted record for an answer: this is documented", async () => {
  const inner = memoryStore();
  await using sealing = await serve(
    idempotency(encryptedStore(inner, rings.first)).wrap((_, res) =>
      res.writeHead(402).end("declined"),
    ),
  );
  await using plain = await serve(idempotency(inner).wrap((_, res) => res.end("ran")));
  await sealing.send({ key: "k" });

  const replay = await plain.send({ key: "k" });
  expect(replay.status).toBe(402);
  expect(replay.headers["idempotency-replayed"]).toBe("true");
  expect(replay.text).not.toBe("declined");
});

test("with onStoreFailure 'execute' a request whose record cannot be read runs unprotected", async () => {
  using events = listen();
  const inner = memoryStore();
  const door = (ring: EncryptionOptions) =>
    idempotency(encryptedStore(inner, ring), { onStoreFailure: "execute" }).wrap((_, res) =>
      res.end("ran"),
    );
  await using one = await serve(door(rings.first));
  await using other = await serve(door(rings.second));
  await one.send({ key: "k" });

  expect(await other.send({ key: "k" })).toMatchObject({ status: 200, text: "ran" });
  expect(events.types).toEqual(["unprotected"]);
});

test("commit is there where the inner store has it, and close closes the inner store", async () => {
  const inner = memoryStore();
  const store = encryptedStore(inner, rings.first);
  expect(store).not.toHaveProperty("commit");
  expect(encryptedStore(ledgerStore(), rings.first)).toHaveProperty("commit");

  await store.close?.();
  await expect(inner.get("k")).rejects.toMatchObject({ code: "STORE_UNAVAILABLE" });
});
