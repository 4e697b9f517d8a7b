/** Whatever bytes a client sends as key and body: an HTTP answer, the same for the same bytes, and one run for each key. */
import { createHash } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { idempotency, type IdempotentRequest } from "../../src/index.js";
import { memoryStore } from "../../stores/memory.js";
import { dial, readBytes, serve } from "../support/http.js";

const MAX_BODY_BYTES = 32 * 1_024;

interface RawRequest {
  readonly keyLines: readonly string[];
  readonly contentType: string | undefined;
  readonly body: Buffer;
  /** `cut`: the client promises more than it sends, and closes its end. */
  readonly framing: "length" | "chunked" | "cut";
}

/** What HTTP calls field content, bytes beyond ASCII included, which Node reads as latin1. */
const fieldByte = fc.oneof(
  fc.integer({ min: 0x20, max: 0x7e }),
  fc.integer({ min: 0x80, max: 0xff }),
  fc.constantFrom(0x09, 0x22, 0x5c, 0x2c, 0x3b),
);
/** Of control characters all but the line feed, which would end the line. */
const anyByte = fc.oneof(
  fieldByte,
  fc.integer({ min: 0, max: 9 }),
  fc.integer({ min: 11, max: 31 }),
);

const keyLine = fc.oneof(
  { weight: 4, arbitrary: fc.uuid() },
  { weight: 4, arbitrary: fc.uuid().map((key) => `"${key}"`) },
  text(fieldByte, 40),
  text(fieldByte, 20).map((inside) => `"${inside}"`),
  text(anyByte, 20),
  fc.integer({ min: 250, max: 600 }).map((length) => "k".repeat(length)),
  fc.constantFrom("", '"', '""', '" "', "a,b", 'a"b', '"a";p=1', '"a" "b"', "k".repeat(20_000)),
);
const keyLines = fc.oneof(
  { weight: 6, arbitrary: fc.tuple(keyLine) },
  fc.array(keyLine, { maxLength: 3 }),
);

const contentType = fc.constantFrom(
  undefined,
  "application/json",
  "Application/Problem+JSON; charset=latin1",
  "multipart/form-data; boundary=b",
  'multipart/mixed; boundary="b b"; boundary=c',
  "multipart/form-data; boundary=",
  "text/plain",
  "; ;; =",
);
const json = fc.json();
const body = fc.oneof(
  fc.constant(""),
  json,
  fc.tuple(json, fc.nat()).map(([whole, at]) => whole.slice(0, at % (whole.length + 1))),
  fc
    .tuple(fc.constantFrom("[", '{"a":', "[["), fc.nat({ max: 12_000 }))
    .map(([open, depth]) => open.repeat(depth)),
  fc.nat({ max: 8_000 }).map((depth) => `${"[".repeat(depth)}${"]".repeat(depth)}`),
  fc
    .array(fc.constantFrom("--b", "--b--", "--b b", "\r\n", "\n", "x", "--"), { maxLength: 12 })
    .map((parts) => parts.join("")),
  fc.nat({ max: 2 * MAX_BODY_BYTES }).map((size) => "x".repeat(size)),
);
const bytes = fc.oneof(
  body.map((content) => Buffer.from(content)),
  fc.uint8Array({ maxLength: 200 }).map((content) => Buffer.from(content)),
);

const rawRequest: fc.Arbitrary<RawRequest> = fc.record({
  keyLines,
  contentType,
  body: bytes,
  framing: fc.constantFrom("length", "length", "chunked", "cut"),
});

function text(unit: fc.Arbitrary<number>, maxLength: number): fc.Arbitrary<string> {
  return fc.array(unit, { maxLength }).map((codes) => String.fromCharCode(...codes));
}

function wire({ keyLines: keys, contentType: type, body: content, framing }: RawRequest): Buffer {
  const promised = content.length + (framing === "cut" ? 1 : 0);
  const head = [
    "POST /payments HTTP/1.1",
    "Host: localhost",
    "Connection: close",
    ...keys.map((key, at) => `${at === 0 ? "Idempotency-Key" : "idempotency-KEY"}: ${key}`),
    ...(type === undefined ? [] : [`Content-Type: ${type}`]),
    framing === "chunked" ? "Transfer-Encoding: chunked" : `Content-Length: ${promised}`,
    "",
    "",
  ].join("\r\n");
  const chunk = content.length === 0 ? "" : `${content.length.toString(16)}\r\n`;
  const parts =
    framing === "chunked"
      ? [chunk, content, chunk === "" ? "0\r\n\r\n" : "\r\n0\r\n\r\n"]
      : [content];
  return Buffer.concat(
    [head, ...parts].map((part) => (typeof part === "string" ? Buffer.from(part, "latin1") : part)),
  );
}

interface RawAnswer {
  readonly status: number;
  readonly head: string;
  readonly body: string;
}

async function exchange(port: number, request: RawRequest): Promise<RawAnswer> {
  using connection = await dial(port);
  connection.write(wire(request));
  if (request.framing === "cut") connection.socket.end();
  const [head = "", ...rest] = (await connection.closed()).split("\r\n\r\n");
  const [, status] = /^HTTP\/1\.1 (\d{3}) /.exec(head) ?? [];
  return { status: Number(status), head: head.toLowerCase(), body: rest.join("\r\n\r\n") };
}

/** A handler that tells what it read, and how often it was called for each key. */
function payments() {
  const runs = new Map<string, number>();
  const safe = idempotency(memoryStore(), { required: true, maxBodyBytes: MAX_BODY_BYTES });
  const listener = safe.wrap(async (req: IdempotentRequest, res: ServerResponse) => {
    const key = req.idempotency?.key ?? "";
    runs.set(key, (runs.get(key) ?? 0) + 1);
    res.end(
      createHash("sha256")
        .update(await readBytes(req))
        .digest("hex"),
    );
  });
  return { runs, listener };
}

/** Who refused, if anybody did: the kit with a document, or Node, which the request never got past. */
function kindOf({ status, head, body: said }: RawAnswer): "result" | "refusal" | "no HTTP" | "odd" {
  if (status === 200) return "result";
  if (status >= 400 && status < 500) {
    if (head.includes("content-type: application/problem+json")) {
      return JSON.parse(said).status === status ? "refusal" : "odd";
    }
    if (head.includes("connection: close") && said === "") return "no HTTP";
  }
  return "odd";
}

/** One key, and a body that is all there and not too long. */
function isWhole({ keyLines: keys, body: content, framing }: RawRequest): boolean {
  return keys.length === 1 && framing !== "cut" && content.length <= MAX_BODY_BYTES;
}

test("any key and any body get an answer, the same bytes again the same one, and each key runs once", async () => {
  let service = payments();
  const listener = (req: IncomingMessage, res: ServerResponse) => service.listener(req, res);
  await using server = await serve(listener);
  const kinds: Record<string, number> = {};

  await fc.assert(
    fc.asyncProperty(rawRequest, async (request) => {
      service = payments();
      const first = await exchange(server.port, request);
      const again = await exchange(server.port, request);

      const kind = kindOf(first);
      kinds[kind] = (kinds[kind] ?? 0) + 1;
      expect(kind).not.toBe("odd");
      expect(kind === "result" && !isWhole(request)).toBe(false);
      expect([again.status, again.body]).toEqual([first.status, first.body]);
      expect([...service.runs.values()]).toEqual(kind === "result" ? [1] : []);
      expect(again.head.includes("idempotency-replayed: true")).toBe(kind === "result");
      expect(await server.send({ key: "goes-on", body: "{}" })).toMatchObject({ status: 200 });
    }),
    { numRuns: 500 },
  );
  for (const kind of ["result", "refusal", "no HTTP"]) expect(kinds[kind]).toBeGreaterThan(20);
});
