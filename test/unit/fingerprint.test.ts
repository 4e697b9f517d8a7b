import { createHash } from "node:crypto";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { fingerprint } from "../../src/key/fingerprint.js";
import type { KeyedRequest } from "../../src/key.js";

const JSON_TYPE = "application/json";

function requestOf(body: string | Uint8Array, contentType?: string): KeyedRequest {
  const bytes = typeof body === "string" ? Buffer.from(body, "latin1") : body;
  return { key: "k", method: "POST", url: "/pay?x=1", contentType, body: bytes };
}

function printOf(body: string | Uint8Array, contentType?: string): string {
  return fingerprint(requestOf(body, contentType));
}

function countOf(prints: readonly string[]): number {
  return new Set(prints).size;
}

/** Whether every byte counts: the fingerprint is the one of a body that nobody looks into. */
function isRaw(body: string | Uint8Array, contentType: string): boolean {
  return printOf(body, contentType) === printOf(body, "application/octet-stream");
}

function multipart(boundary: string, parts: readonly string[]): string {
  return `${parts.map((part) => `--${boundary}\r\n${part}\r\n`).join("")}--${boundary}--\r\n`;
}

function formType(boundary: string): string {
  return `multipart/form-data; boundary=${boundary}`;
}

function formPrint(boundary: string, body: string): string {
  return printOf(body, formType(boundary));
}

/** A line break before the first delimiter line belongs to that line. */
function bare(text: string): string {
  return text.replace(/^\r\n(?=--)/, "");
}

/** The preimage of a hash is given by hand here: every part led by its length in bytes. */
function sha256(text: string): string {
  return createHash("sha256").update(text).digest("base64url");
}

const PART = 'Content-Disposition: form-data; name="a"\r\n\r\n1';

describe("the fingerprint", () => {
  test("D4: it counts method, URL, body and key, and is 43 base64url characters", () => {
    const request = requestOf('{"a":1}', JSON_TYPE);
    const others: Partial<KeyedRequest>[] = [
      {},
      { key: "l" },
      { method: "PUT" },
      { url: "/pay?x=2" },
      { url: "/refund?x=1" },
      { body: Buffer.from('{"a":2}') },
      { body: Buffer.alloc(0) },
    ];
    const prints = others.map((other) => fingerprint({ ...request, ...other }));
    expect(countOf(prints)).toBe(others.length);
    expect(prints[0]).toMatch(/^[\w-]{43}$/);
    expect(fingerprint({ ...request })).toBe(prints[0]);
  });

  test("its format stays: stored fingerprints must match after an update", () => {
    const head = "idempotency-kit/1/fingerprint|1:k|4:POST|8:/pay?x=1";
    expect(printOf('{"b":2, "a":"x"}', JSON_TYPE)).toBe(
      sha256(`${head}|4:json|15:{"a":"x","b":2}`),
    );
    expect(printOf("b=2&a=1")).toBe(sha256(`${head}|3:raw|7:b=2&a=1`));
    const form = multipart("x", ["one", "two"]);
    expect(formPrint("x", form)).toBe(sha256(`${head}|9:multipart|0:|3:one|3:two|2:\r\n`));
  });

  test("C8: nothing can be moved from one part of it to another", () => {
    const text = fc.string({ unit: fc.constantFrom("a", "|", ":", "1", "3:raw"), maxLength: 5 });
    const request = fc.record({
      key: text,
      method: text,
      url: text,
      contentType: fc.constant(undefined),
      body: text.map((body) => new Uint8Array(Buffer.from(body))),
    });
    fc.assert(
      fc.property(request, request, (a, b) => {
        const same = (["key", "method", "url"] as const).every((name) => a[name] === b[name]);
        expect(fingerprint(a) === fingerprint(b)).toBe(
          same && Buffer.compare(a.body, b.body) === 0,
        );
      }),
      { numRuns: 1_000 },
    );
  });

  test("C24: it leaves the body as it is, and reads a view of a larger buffer as that view", () => {
    const whole = Buffer.from(`xx${multipart("b", [PART])}yy`);
    const before = Buffer.from(whole);
    const view = new Uint8Array(whole.buffer, whole.byteOffset + 2, whole.length - 4);
    expect(printOf(view, formType("b"))).toBe(formPrint("b", multipart("b", [PART])));
    expect(whole).toEqual(before);
  });
});

describe("a JSON body", () => {
  test("C35: it counts by content", () => {
    const prints = ['{"a":1,"b":[1,2]}', ' { "b" : [1.0,2] , "\\u0061" : 1 } '].map((text) =>
      printOf(text, JSON_TYPE),
    );
    expect(countOf(prints)).toBe(1);
    const others = ['{"a":1,"b":[2,1]}', '{"a":"1","b":[1,2]}', '{"a":1,"b":[1,2],"c":null}'];
    expect(countOf([...prints, ...others.map((text) => printOf(text, JSON_TYPE))])).toBe(4);
  });

  test("C35: JSON is what its media type says, whatever its case and parameters", () => {
    const types = [
      JSON_TYPE,
      "Application/JSON",
      " application/json ;charset=utf-8",
      "application/json;",
    ];
    types.push("application/ld+json", "application/vnd.api+JSON; v=1", "image/x+json");
    expect(countOf(types.map((type) => printOf("[ 1 ]", type)))).toBe(1);
    const others = [
      "",
      "text/plain",
      "application/jsonp",
      "application/json-seq",
      "json",
      "+json",
      "/+json",
    ];
    others.push(
      "application/x-ndjson",
      "application/+xml",
      "text/plain; a=application/json",
      "x; y/z+json",
    );
    expect(others.filter((type) => !isRaw("[ 1 ]", type))).toEqual([]);
    expect(printOf("[ 1 ]")).toBe(printOf("[ 1 ]", ""));
  });

  test("C35: raw bytes that read like a canonical JSON text are not that JSON", () => {
    expect(isRaw('{"a":1}', JSON_TYPE)).toBe(false);
    expect(isRaw("", JSON_TYPE)).toBe(true);
    expect(countOf(["", "null", '""', "{}", "0"].map((text) => printOf(text, JSON_TYPE)))).toBe(5);
  });

  test("what is not JSON counts byte by byte", () => {
    const bodies = [
      '{"a":1',
      "{'a':1}",
      "[1] x",
      "NaN",
      "a=1",
      "[".repeat(100_000),
      "[".repeat(200) + "]".repeat(200),
    ];
    expect(bodies.filter((body) => !isRaw(body, JSON_TYPE))).toEqual([]);
    expect(printOf("{ 'a':1}", JSON_TYPE)).not.toBe(printOf("{'a':1}", JSON_TYPE));
  });

  test("what is not UTF-8 counts byte by byte: two wrong bytes are not one replacement character", () => {
    const bodies = ['"\xff"', '"\xfe"', '"\xef\xbf\xbd"', '"\xed\xa0\x80"', '"\xc0\x80"'];
    expect(countOf(bodies.map((body) => printOf(body, JSON_TYPE)))).toBe(bodies.length);
    expect(bodies.filter((body) => isRaw(body, JSON_TYPE))).toHaveLength(4);
    const utf16 = Buffer.from('{"a":1}', "utf16le");
    expect(isRaw(utf16, "application/json; charset=utf-16")).toBe(true);
  });

  test("a byte order mark is not JSON (RFC 8259 section 8.1), so it counts", () => {
    expect(isRaw("\xef\xbb\xbf[1]", JSON_TYPE)).toBe(true);
    expect(printOf("\xef\xbb\xbf[1]", JSON_TYPE)).not.toBe(printOf("[1]", JSON_TYPE));
  });
});

describe("a multipart body", () => {
  const boundaryArb = fc.stringMatching(/^[0-9A-Za-z'()+_,./:=?-]{16,40}$/);
  const partArb = fc
    .uint8Array({ maxLength: 40 })
    .map((bytes) => Buffer.from(bytes).toString("latin1"));

  test("C38: a retry whose client drew another boundary is the same request", async () => {
    const prints: string[] = [];
    for (const amount of ["1", "1", "2"]) {
      const form = new FormData();
      form.append("amount", amount);
      form.append("scan", new Blob(["\r\n--\0\xff"]), "scan.bin");
      const response = new Response(form);
      const type = response.headers.get("content-type") ?? "";
      const body = new Uint8Array(await response.arrayBuffer());
      expect(isRaw(body, type)).toBe(false);
      prints.push(printOf(body, type));
    }
    expect(prints[0]).toBe(prints[1]);
    expect(prints[0]).not.toBe(prints[2]);
  });

  test("C38: two boundaries around the same parts are one request, quoted or not", () => {
    fc.assert(
      fc.property(boundaryArb, boundaryArb, fc.array(partArb), (one, two, parts) => {
        const print = formPrint(one, multipart(one, parts));
        expect(print).toBe(formPrint(`"${two}"`, multipart(two, parts)));
        expect(isRaw(multipart(one, parts), formType(one))).toBe(false);
      }),
    );
  });

  test("C38: any byte of a part, their number and their order count", () => {
    const partsArb = fc.array(partArb, { minLength: 1, maxLength: 4 });
    fc.assert(
      fc.property(boundaryArb, boundaryArb, partsArb, partsArb, (one, two, parts, others) => {
        const same = parts.length === others.length && parts.every((part, i) => part === others[i]);
        const print = formPrint(one, multipart(one, parts));
        expect(print === formPrint(two, multipart(two, others))).toBe(same);
        expect(print).not.toBe(formPrint(two, multipart(two, [...parts, ""])));
        expect(print).not.toBe(formPrint(two, multipart(two, [parts.join("\r\n"), "x"])));
      }),
    );
    fc.assert(
      fc.property(
        boundaryArb,
        boundaryArb,
        partsArb,
        fc.nat(),
        fc.integer({ min: 1, max: 255 }),
        (one, two, parts, at, flip) => {
          const bytes = Buffer.from(parts.join("|") || "|", "latin1");
          const changed = Buffer.from(bytes);
          changed.writeUInt8(changed.readUInt8(at % changed.length) ^ flip, at % changed.length);
          const print = formPrint(one, multipart(one, [bytes.toString("latin1")]));
          expect(print).not.toBe(formPrint(two, multipart(two, [changed.toString("latin1")])));
        },
      ),
    );
  });

  test("C38: two bodies are one request only if another boundary turns one into the other", () => {
    const unit = fc.constantFrom(
      "--b",
      "--b",
      "\r\n",
      "\r\n",
      "\r\n--b\r\n",
      "--",
      "b",
      "-",
      "\n",
      "--c",
      "x",
    );
    const wild = fc.string({ unit, maxLength: 8 });
    const body = fc.oneof(
      wild,
      fc.array(wild, { maxLength: 3 }).map((parts) => multipart("b", parts)),
      fc.tuple(wild, wild).map(([head, tail]) => `${head}\r\n--b\r\nx\r\n--b--${tail}`),
    );
    fc.assert(
      fc.property(body, body, fc.boolean(), (one, two, swap) => {
        const other = (swap ? one : two).replaceAll("--b", "--c");
        const same = formPrint("b", one) === formPrint("c", other);
        expect(same && bare(one).replaceAll("--b", "--c") !== bare(other)).toBe(false);
      }),
      { numRuns: 5_000 },
    );
  });

  test("C38: preamble and epilogue count, and the line break before the first line does not", () => {
    const form = multipart("b", [PART]);
    const bodies = [form, `hello\r\n${form}`, `${form}bye`, form.slice(0, -2)];
    expect(countOf(bodies.map((body) => formPrint("b", body)))).toBe(4);
    expect(bodies.filter((body) => isRaw(body, formType("b")))).toEqual([]);
    expect(formPrint("b", `\r\n${form}`)).toBe(formPrint("b", form));
    expect(isRaw("--b--\r\n", formType("b"))).toBe(false);
  });

  test("C38: what is not exactly multipart counts byte by byte", () => {
    const bodies = [
      "",
      "hello",
      `--b\r\n${PART}`,
      `--b\r\n${PART}\r\n`,
      `--b\n${PART}\n--b--\n`,
      `--b\r\n${PART}\n--b--\r\n`,
      `x--b\r\n${PART}\r\n--b--\r\n`,
      `\n--b\r\n${PART}\r\n--b--\r\n`,
      `--b \r\n${PART}\r\n--b--\r\n`,
      `--b\r\n${PART}--b--\r\n`,
      `--b\r\n--b--\r\n`,
      `--b\r\n${PART}\r\n--b`,
      `--b\r\n${PART}\r\n--b-`,
      `--b\r\n${PART}\r\n--b--bye`,
      `--b\r\n${PART}\r\n--bb\r\n\r\n--b--\r\n`,
      `--b\r\n${PART} --b \r\n--b--\r\n`,
      `--b\r\n${PART}\r\n--b--\r\n--b\r\nx\r\n--b--`,
    ];
    expect(bodies.filter((body) => !isRaw(body, formType("b")))).toEqual([]);
    expect(isRaw(multipart("b", [PART]), formType("c"))).toBe(true);
  });

  test("C38: the boundary is read from any parameter list, and there must be exactly one", () => {
    const form = multipart("b", [PART]);
    const types = [
      "; boundary=b",
      ";BOUNDARY=b",
      "; charset=utf-8; boundary=b",
      ' ; boundary="b" ;',
      ';; boundary="\\b"',
    ];
    types.push(
      '; a="; boundary=c"; boundary=b',
      "; boundary=b; charset=x",
      '; a="\\""; boundary=b; ',
      "\t;\tboundary=b",
    );
    expect(countOf(types.map((type) => printOf(form, `Multipart/Mixed${type}`)))).toBe(1);
    expect(isRaw(form, `Multipart/Mixed${types[0]}`)).toBe(false);
    const bad = [
      "",
      ";",
      "; boundary",
      "; boundary=",
      '; boundary=""',
      '; boundary="b',
      "; boundary =b",
      "; xboundary=b",
    ];
    bad.push(
      "; boundary=b; boundary=b",
      "; boundary=b; Boundary=c",
      '; boundary="b"b',
      "; =b; boundary=b",
      '; boundary=b"',
    );
    expect(bad.filter((type) => !isRaw(form, `multipart/form-data${type}`))).toEqual([]);
  });

  test("RFC 2046: a boundary has 1 to 70 characters of its set and does not end with a space", () => {
    const ok = ["b".repeat(70), "'()+_,-./:=?", "a b", "-"];
    expect(ok.filter((b) => isRaw(multipart(b, [PART]), formType(`"${b}"`)))).toEqual([]);
    const bad = ["b".repeat(71), "b ", " ", "b*", "b\\\\", "b\u00fc", "b;"];
    expect(bad.filter((b) => !isRaw(multipart(b, [PART]), formType(`"${b}"`)))).toEqual([]);
  });

  test("P7: more than a thousand parts count byte by byte", () => {
    const parts = Array.from({ length: 1_001 }, () => "");
    expect(isRaw(multipart("b", parts.slice(1)), formType("b"))).toBe(false);
    expect(isRaw(multipart("b", parts), formType("b"))).toBe(true);
  });
});

test("P7: a mebibyte of anything is read in linear time", () => {
  const n = 2 ** 20;
  const hostile: [body: string, type: string][] = [
    ["-".repeat(n), formType("-".repeat(60))],
    ["--b\r\n\r\n".repeat(n / 7), formType("b")],
    [`--b\r\n${"\r\n--".repeat(n / 4)}\r\n--b--`, formType("b")],
    ["{".repeat(n), JSON_TYPE],
    ["x", `multipart/x${"; a=b".repeat(n / 5)}`],
    ["x", `multipart/x; boundary="${"\\a".repeat(n / 2)}`],
    ["x", `multipart/x${";".repeat(n)}`],
    ["x", `multipart/x${" ".repeat(n)}y`],
    ["x", `a/${"+json".repeat(n / 5)}x`],
  ];
  const slow = hostile.filter(([body, type]) => {
    const before = performance.now();
    printOf(body, type);
    return performance.now() - before > 1_000;
  });
  expect(slow.map(([body, type]) => [body.slice(0, 20), type.slice(0, 20)])).toEqual([]);
});
