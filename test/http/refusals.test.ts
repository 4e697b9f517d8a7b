/**
 * Every refusal as a client gets it: what docs/http.md says of it, and a link to the service's own page. And as an
 * operator does: without anything of the client's.
 */
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { idempotency, LockFailedError, type HttpOptions, type Store } from "../../src/index.js";
import { memoryStore } from "../../stores/memory.js";
import { table } from "../layout/readme.js";
import { readBytes, serve, type Answer, type Sent } from "../support/http.js";
import { expectNoneOf } from "../support/secrets.js";

const DOCS = "https://developer.example.com/idempotency";
const PAGE = readFileSync(new URL("../../docs/http.md", import.meta.url), "utf8");
const memory = memoryStore();

interface Case {
  readonly options?: Partial<HttpOptions>;
  readonly store?: Partial<Store>;
  /** The last one's answer counts. */
  readonly sent?: readonly Sent[];
  readonly fails?: boolean;
  readonly isRead?: boolean;
  readonly drained?: boolean;
}

const KEY = "key-of-the-client";
const BODY = "body-of-the-client";
const TOKEN = "token-of-the-client";
const KEYED: Sent = { key: KEY, body: BODY, headers: { Authorization: `Bearer ${TOKEN}` } };

const CASES: Readonly<Record<string, Case>> = {
  KEY_MISSING: { options: { required: true }, sent: [{ body: BODY }] },
  KEY_INVALID: { sent: [{ ...KEYED, key: `${KEY} and another` }] },
  SCOPE_MISSING: { options: { scope: () => undefined } },
  REQUEST_IN_PROGRESS: {
    store: { lock: async () => ({ state: "in-progress", retryAfterMs: 5_000 }) },
  },
  RESPONSE_NOT_KEPT: { options: { maxResponseBytes: 0 }, sent: [KEYED, KEYED] },
  BODY_TOO_LARGE: { options: { maxBodyBytes: 0 } },
  KEY_REUSED: { sent: [KEYED, { ...KEYED, body: `another ${BODY}` }] },
  BODY_UNREADABLE: { isRead: true },
  HANDLER_FAILED: { fails: true },
  LEASE_LOST: {
    store: {
      lock: async (...claim) => {
        const found = await memory.lock(...claim);
        if (found.state !== "acquired") throw new Error("The key should be free.");
        return { ...found, lease: { ...found.lease, validUntil: 0 } };
      },
      unlock: (lease) => memory.unlock(lease),
    },
  },
  LOCK_FAILED: { store: { lock: () => Promise.reject(new LockFailedError("full")) } },
  STORE_UNAVAILABLE: { store: { lock: () => Promise.reject(new Error("ECONNREFUSED")) } },
  DRAINING: { drained: true },
};

const rows = table(PAGE, "Status")
  .map(([status, code = "", title, , retryAfter]) => ({
    status: Number(status),
    code: code.replaceAll("`", ""),
    title,
    retryAfter: retryAfter === "yes",
  }))
  // Thrown to handlers, and never sent.
  .filter(({ code }) => code !== "COMMIT_REFUSED");

/** The answer to the last request of a case, and what `onError` was told. */
async function refused(code: string): Promise<{ answer: Answer; errors: unknown[] }> {
  const { options, store, sent = [KEYED], fails, isRead, drained } = CASES[code] ?? {};
  const errors: unknown[] = [];
  const safe = idempotency(
    { ...memoryStore(), ...store },
    { docsUrl: DOCS, onError: (error) => errors.push(error), ...options },
  );
  const handled = safe.wrap((_, res) => {
    if (fails === true) throw new Error("no funds");
    res.end("paid");
  });
  await using server = await serve(async (req, res) => {
    if (isRead === true) await readBytes(req);
    handled(req, res);
  });
  if (drained === true) await safe.drain();
  for (const earlier of sent.slice(0, -1)) await server.send(earlier);
  return { answer: await server.send(sent.at(-1)), errors };
}

test.each(rows)(
  "$code is answered as the page says",
  async ({ status, code, title, retryAfter }) => {
    const { answer } = await refused(code);

    expect(answer.status).toBe(status);
    expect(JSON.parse(answer.text)).toMatchObject({ code, title, status });
    expect(answer.headers).toMatchObject({
      "content-type": "application/problem+json",
      "cache-control": "no-store",
      link: `<${DOCS}>; rel="describedby"`,
    });
    expect("retry-after" in answer.headers).toBe(retryAfter);
  },
);

test.each(rows)(
  "P9: $code has nothing of what the client sent, in the answer or in the error for the operator",
  async ({ status, code }) => {
    const { answer, errors } = await refused(code);

    expect(JSON.parse(answer.text)).toMatchObject({ code });
    // Of what is the client's mistake no operator is told.
    expect(errors).toHaveLength(status >= 500 ? 1 : 0);
    expectNoneOf([KEY, BODY, TOKEN], [answer.rawHeaders, answer.text, errors]);
  },
);

test("every code of the page is provoked", () => {
  expect(rows.map(({ code }) => code).toSorted()).toEqual(Object.keys(CASES).toSorted());
});
