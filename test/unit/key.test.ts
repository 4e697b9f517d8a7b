import { createHash } from "node:crypto";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  DEFAULT_HEADER_NAME,
  MAX_KEY_LENGTH,
  deriveKey,
  fingerprintedKey,
  parseKey,
  storageKey,
  type KeyedRequest,
} from "../../src/key.js";

const UUID = "8e03978e-40d5-43e8-bc93-6894a57f9324";

/** The preimage of a hash is given by hand here: every part led by its length in bytes. */
function sha256(text: string): string {
  return createHash("sha256").update(text).digest("base64url");
}

/** RFC 9651 section 4.1.6. */
function sfString(key: string): string {
  return `"${key.replaceAll(/["\\]/g, (char) => `\\${char}`)}"`;
}

function keyOf(...lines: string[]): string | undefined {
  const result = parseKey(lines);
  return result.ok ? result.key : undefined;
}

function detailOf(lines: string[], maxLength?: number): string {
  const result = parseKey(lines, maxLength);
  return result.ok ? "" : result.detail;
}

const printable = fc.integer({ min: 0x20, max: 0x7e }).map((code) => String.fromCharCode(code));
const quotableKey = fc
  .string({ unit: printable, minLength: 1, maxLength: MAX_KEY_LENGTH })
  .filter((key) => key.trim() !== "");
const visible = printable.filter((char) => !' ",'.includes(char));
const bareKey = fc.string({ unit: visible, minLength: 1, maxLength: MAX_KEY_LENGTH });

describe("the key header", () => {
  test("D1, C40: a quoted string and the same key bare are one key", () => {
    expect(keyOf(`"${UUID}"`)).toBe(UUID);
    expect(keyOf(UUID)).toBe(UUID);
    expect(keyOf(` \t"${UUID}" `)).toBe(UUID);
    expect(keyOf(`\t${UUID} \t`)).toBe(UUID);
    expect(DEFAULT_HEADER_NAME).toBe("Idempotency-Key");
  });

  test("D1: every key survives being written as a structured string", () => {
    fc.assert(
      fc.property(quotableKey, (key) => {
        expect(keyOf(sfString(key))).toBe(key);
      }),
    );
  });

  test("C40: every bare key is the same key in quotes", () => {
    fc.assert(
      fc.property(bareKey, (key) => {
        expect(keyOf(key)).toBe(key);
        expect(keyOf(sfString(key))).toBe(key);
      }),
    );
  });

  test("D1: only a quote and a backslash may be escaped", () => {
    expect(keyOf(String.raw`"a\"b\\c"`)).toBe(String.raw`a"b\c`);
    for (const line of [String.raw`"a\n"`, String.raw`"a\ "`, String.raw`"a\"`, '"a\\']) {
      expect(detailOf([line])).toMatch(/malformed/);
    }
  });

  test("D1: parameters after a quoted key are parsed and ignored", () => {
    const items = [
      "",
      "=1",
      "=-1.5",
      "=999999999999.999",
      "=tok/en:*",
      '="a\\"b"',
      "=:YWJj:",
      "=?0",
    ];
    items.push("=@-1659578233", '=%"f%c3%bc\\"', "=*", "=::");
    expect(items.filter((item) => keyOf(`"k";a${item}`) !== "k")).toEqual([]);
    expect(items.filter((item) => keyOf(`"k";  *b-c_.0${item};d`) !== "k")).toEqual([]);
  });

  test("D1: what follows a quoted key and is no parameter is refused", () => {
    const tails = [
      "x",
      ";",
      "; ",
      ";A",
      ";1",
      " ;a",
      ";a=",
      ";a= 1",
      ";a =1",
      ";a\\",
      ';a="',
      ';a="b',
    ];
    const items = [
      "1.",
      "1.2345",
      "1234567890123456",
      "1234567890123.1",
      "?2",
      ":a",
      ":a-:",
      "@",
      "@1.5",
    ];
    const words = [...items, "%a", '%"%C3"', '%"%c"', '%"a', "(1)", "a,b", "ü"].map(
      (item) => `;a=${item}`,
    );
    tails.push(...words, '"k"', ',"k"');
    expect(tails.filter((tail) => detailOf([`"k"${tail}`]) === "")).toEqual([]);
  });

  test("C40: semicolons, backslashes and colons are part of a bare key", () => {
    expect(keyOf("a;b=1")).toBe("a;b=1");
    expect(keyOf(String.raw`a\b:c`)).toBe(String.raw`a\b:c`);
  });

  test("C40: two header lines are refused, also when a proxy joined them", () => {
    expect(detailOf(["a", "a"])).toMatch(/more than once/);
    expect(detailOf(["a, a"])).toMatch(/comma/);
    expect(detailOf(["a,a"])).toMatch(/comma/);
    expect(detailOf(['"a", "b"'])).toMatch(/one key/);
    expect(keyOf('"a, b"')).toBe("a, b");
    expect(detailOf([])).toMatch(/missing/);
  });

  test("C40: empty and blank keys are refused", () => {
    for (const line of ["", " ", "\t \t"]) expect(detailOf([line])).toMatch(/empty/);
    for (const line of ['""', '"  "', '" ";a']) expect(detailOf([line])).toMatch(/blank/);
    expect(keyOf('" a "')).toBe(" a ");
  });

  test("C40: control and non-ASCII characters are refused in either form", () => {
    for (const char of [
      "\0",
      "\n",
      "\r\n",
      "\u007f",
      "\u0080",
      "\u00a0",
      "ü",
      "\u2028",
      "\ufeff",
      "😀",
      "\ud800",
    ]) {
      const lines = [`a${char}b`, `"a${char}b"`, char, `${char}a`, `a${char}`];
      expect(lines.filter((line) => !detailOf([line]).includes("non-ASCII"))).toEqual([]);
    }
    expect(detailOf(["a\tb"])).toMatch(/control/);
  });

  test("C40: spaces and stray quotes in a bare key are refused", () => {
    expect(detailOf(["a b"])).toMatch(/space/);
    for (const line of ['a"', 'a"b"', 'a\\"']) expect(detailOf([line])).toMatch(/quote/);
  });

  test("C40: 255 characters are a key and 256 are not, counted without escapes", () => {
    const longest = '"'.repeat(MAX_KEY_LENGTH);
    expect(keyOf(sfString(longest))).toBe(longest);
    expect(detailOf([sfString(`${longest}"`)])).toMatch(/at most 255/);
    expect(keyOf("k".repeat(255))).toHaveLength(255);
    expect(detailOf(["k".repeat(256)])).toMatch(/at most 255/);
    expect(detailOf(["k".repeat(9)], 8)).toMatch(/at most 8 /);
    expect(parseKey([sfString('"'.repeat(8_192))], 8_192).ok).toBe(true);
    expect(detailOf([`"k";a="${"x".repeat(2_000)}"`])).toMatch(/too long/);
  });

  test("P9: a refusal never repeats what was sent", () => {
    const marked = [
      "SECRET SECRET",
      "SECRET,",
      '"SECRET',
      'SECRET"',
      '"SECRET"x',
      "SECRETü",
      "SECRET".repeat(99),
    ];
    for (const line of marked) expect(detailOf([line])).toMatch(/^(?!.*SECRET).+: .+\.$/);
  });
});

describe("the key header, whatever is sent", () => {
  /** An independent reading of the grammar: RFC 9651 appendix C as one expression. */
  const ITEM = [
    String.raw`-?\d{1,12}\.\d{1,3}`,
    String.raw`-?\d{1,15}`,
    String.raw`"(?:[ !#-[\]-~]|\\["\\])*"`,
    "[A-Za-z*][!#$%&'*+.^_`|~0-9A-Za-z:/-]*",
    ":[A-Za-z0-9+/=]*:",
    String.raw`\?[01]`,
    String.raw`@-?\d{1,15}`,
    '%"(?:[ !#$&-~]|%[0-9a-f][0-9a-f])*"',
  ].join("|");
  const KEY = String.raw`[ \t]*(?:"(?<quoted>(?:[ !#-[\]-~]|\\["\\])*)"(?:; *[a-z*][a-z0-9_.*-]*(?:=(?:${ITEM}))?)*|(?<bare>[!#-+\--~][!#-+\--~]*))[ \t]*`;
  const GRAMMAR = new RegExp(`^(?:${KEY})$`);

  function oracle(line: string): string | undefined {
    const groups = GRAMMAR.exec(line)?.groups;
    const key = groups?.["bare"] ?? groups?.["quoted"]?.replaceAll(/\\(.)/g, "$1") ?? "";
    return key.trim() === "" || key.length > MAX_KEY_LENGTH ? undefined : key;
  }

  const fragments = [
    '"',
    '"',
    "\\",
    ";",
    ";a",
    "=",
    "=1",
    "=?1",
    ":",
    "*",
    "@",
    "%",
    '%"',
    "a",
    "k",
    "Z",
    "-",
    ".5",
  ];
  const nearly = fc.oneof(
    fc.string({ unit: fc.constantFrom(...fragments, " ", "\t", ",", "\u007f", "ü", "0", "/") }),
    fc
      .tuple(quotableKey, fc.string({ unit: fc.constantFrom(...fragments, " ") }))
      .map(([key, tail]) => sfString(key) + tail),
    fc.string({ unit: "binary", maxLength: 600 }),
    fc.string({ unit: printable, maxLength: 600 }),
  );

  test("D1, C40: it accepts what the grammar accepts, with that value, and nothing else", () => {
    fc.assert(
      fc.property(nearly, (line) => {
        expect(keyOf(line)).toBe(oracle(line));
      }),
      { numRuns: 3_000 },
    );
  });

  test("D15: 64 KB of anything is judged in linear time", () => {
    const n = 65_536;
    let slowestMs = 0;
    const attacks = [
      '"',
      "\\",
      '"\\',
      " ",
      "\t",
      ";",
      "; ",
      '";',
      ";a=",
      ';a="',
      '"a";a=',
      '%"',
      "%00",
      ",",
      "a",
      "-1",
      ":",
    ];
    const tails = ["", '"', "\\", "ü", " x", ";"];
    for (const attack of attacks) {
      for (const tail of tails) {
        for (const head of ["", '"k"', '"k";a=%"', '"k";a=:', '"', "k "]) {
          const line = (head + attack.repeat(n / attack.length) + tail).slice(0, 2 * n);
          const before = performance.now();
          parseKey([line], n);
          slowestMs = Math.max(slowestMs, performance.now() - before);
          expect(parseKey([line]).ok).toBe(false);
        }
      }
    }
    expect(slowestMs).toBeLessThan(250);
  });
});

describe("the key that a store sees", () => {
  test("P9: a store sees 43 base64url characters and never the key", () => {
    expect(storageKey(UUID)).toBe(sha256(`idempotency-kit/1/key|36:${UUID}`));
    expect(storageKey("k", "tenant-ü")).toBe(sha256("idempotency-kit/1/key|9:tenant-ü|1:k"));
    expect(storageKey(UUID)).toMatch(/^[\w-]{43}$/);
  });

  test("C41: two tenants with one key are apart, and both from no tenant", () => {
    const keys = [storageKey("k"), storageKey("k", ""), storageKey("k", "a"), storageKey("k", "b")];
    expect(new Set(keys).size).toBe(4);
  });

  test("C8: no delimiter in scope or key makes two of them one", () => {
    expect(storageKey("c", "a:b")).not.toBe(storageKey("b:c", "a"));
    expect(storageKey("1:c", "a|")).not.toBe(storageKey("c", "a|1:"));
    const smuggled = fc.string({
      unit: fc.constantFrom("a", ":", "|", "1", "2", "3", '"', "json"),
      maxLength: 6,
    });
    const scope = fc.option(smuggled, { nil: undefined });
    const key = smuggled.filter((text) => text !== "");
    fc.assert(
      fc.property(scope, key, scope, key, (scopeA, keyA, scopeB, keyB) => {
        const same = scopeA === scopeB && keyA === keyB;
        expect(storageKey(keyA, scopeA) === storageKey(keyB, scopeB)).toBe(same);
      }),
      { numRuns: 2_000 },
    );
  });

  test("C8: scopes that UTF-8 cannot tell apart are still apart", () => {
    const scopes = [
      "\ud800",
      "\ud801",
      "\udfff",
      "\ufffd",
      '"\\ud800"',
      "\ud83d",
      "😀",
      "\ude00\ud83d",
    ];
    expect(new Set(scopes.map((scope) => storageKey("k", scope))).size).toBe(scopes.length);
    const unit = fc.constantFrom("\ud83d", "\ude00", "a", '"', "\\", "d83d", "\ufffd");
    const odd = fc.string({ unit, maxLength: 5 });
    fc.assert(
      fc.property(odd, odd, (a, b) => {
        expect(storageKey("k", a) === storageKey("k", b)).toBe(a === b);
      }),
    );
  });

  test("C39: a missing key is refused, never hashed into a key that all requests share", () => {
    for (const none of ["", undefined, null, [null, null]]) {
      const missing = expect.objectContaining({ code: "KEY_MISSING" }) as Error;
      expect(() => storageKey(none as string)).toThrow(missing);
    }
  });
});

describe("a key for another service", () => {
  test("a derived key is a UUID of version 8 with the variant of RFC 9562", () => {
    fc.assert(
      fc.property(fc.string(), fc.string(), (stored, label) => {
        expect(deriveKey(stored, label)).toMatch(
          /^[\da-f]{8}-[\da-f]{4}-8[\da-f]{3}-[89ab][\da-f]{3}-[\da-f]{12}$/,
        );
      }),
    );
  });

  test("a derived key carries the hash in all other bits", () => {
    const stored = storageKey(UUID);
    for (const label of [
      "charge",
      "refund",
      "notify",
      "ledger",
      "audits",
      "stocks",
      "prices",
      "labels",
    ]) {
      const preimage = `idempotency-kit/1/derive|43:${stored}|6:${label}`;
      const bytes = createHash("sha256").update(preimage).digest().subarray(0, 16);
      bytes.writeUInt8((bytes.readUInt8(6) & 0x0f) | 0x80, 6);
      bytes.writeUInt8((bytes.readUInt8(8) & 0x3f) | 0x80, 8);
      expect(deriveKey(stored, label).replaceAll("-", "")).toBe(bytes.toString("hex"));
    }
  });

  test("one request and label derive one key, another label or request another", () => {
    const keys = ["a", "b"].flatMap((key) => ["x", "y"].map((label) => deriveKey(key, label)));
    expect(new Set(keys).size).toBe(4);
    expect(deriveKey("a", "x")).toBe(keys[0]);
    expect(deriveKey("a|1:", "x")).not.toBe(deriveKey("a", "|1:x"));
  });
});

describe("the key of the Go package", () => {
  const request: KeyedRequest = {
    key: UUID,
    method: "POST",
    url: "/payments?dry=1",
    contentType: "application/json",
    body: Buffer.from('{"amount":1}'),
  };

  test("C7, C48: another key, method, path, query or body is another request", () => {
    const others: Partial<KeyedRequest>[] = [
      {},
      { key: "k" },
      { method: "PUT" },
      { url: "/refunds?dry=1" },
      { url: "/payments?dry=2" },
      { body: Buffer.from('{"amount":2}') },
      { body: Buffer.alloc(0) },
    ];
    const keys = others.map((other) => fingerprintedKey({ ...request, ...other }));
    expect(new Set(keys).size).toBe(others.length);
    expect(keys[0]).toMatch(/^[\w-]{43}$/);
    expect(fingerprintedKey({ ...request, body: new Uint8Array(request.body) })).toBe(keys[0]);
  });

  test("C8: parts cannot be moved between key, path and body", () => {
    const body = Buffer.from("b");
    const moved = fingerprintedKey({ ...request, url: "/a|1:b", body: Buffer.alloc(0) });
    expect(moved).not.toBe(fingerprintedKey({ ...request, url: "/a", body }));
  });
});
