/** Any program of response calls that Node accepts gives the client the same with and without the middleware. */
import type { IncomingMessage, ServerResponse } from "node:http";
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { idempotency } from "../../src/index.js";
import { memoryStore } from "../../stores/memory.js";
import { serve } from "../support/http.js";
import { codeOf, essence, replayEssence } from "../support/side-by-side.js";

/** One call of a method of the response, as plain JavaScript makes it. */
type Step = readonly [method: string, ...args: readonly unknown[]];
type Program = readonly Step[];

const names = fc.constantFrom("X-A", "x-b", "Content-Type", "ETag", "Vary", "Link");
// ASCII only: Node itself sends other characters as latin1 or as UTF-8, by what the first chunk happens to be.
const values = fc.constantFrom("1", "two", "a, b", "text/plain", "");
const trailers = fc.constantFrom("X-Sum", "X-Count");
const statuses = fc.constantFrom(200, 201, 204, 299, 304, 400, 404, 422);
const objects = fc.dictionary(names, values, { maxKeys: 3 });
const pairs = fc.array(fc.tuple(names, values), { minLength: 1, maxLength: 4 });
const lists = fc.oneof(
  pairs,
  pairs.map((list) => list.flat()),
);
const bytes = fc.uint8Array({ maxLength: 20 }).map((list) => Buffer.from(list));
const chunks = fc.oneof(
  fc.tuple(fc.string({ maxLength: 20 }), fc.constantFrom("utf8", "latin1", "utf16le", undefined)),
  // What is no hex takes the whole process down in Node itself.
  fc
    .tuple(bytes, fc.constantFrom("hex", "base64"))
    .map(([list, as]) => [list.toString(as as BufferEncoding), as] as const),
  fc.tuple(bytes),
);

const steps: fc.Arbitrary<Step> = fc.oneof(
  fc.tuple(fc.constant("setHeader"), names, fc.oneof(values, fc.array(values, { maxLength: 2 }))),
  fc.tuple(fc.constant("appendHeader"), names, values),
  fc.tuple(fc.constant("removeHeader"), names),
  fc.tuple(fc.constant("status"), statuses),
  fc.tuple(fc.constant("writeHead"), fc.oneof(statuses, fc.constantFrom(99, 1_000))),
  fc.tuple(fc.constant("writeHead"), statuses, fc.oneof(objects, lists)),
  fc.tuple(fc.constant("writeHead"), statuses, fc.constantFrom("Fine", "So la la", ""), objects),
  fc.tuple(fc.constant("addTrailers"), fc.oneof(fc.dictionary(trailers, values), pairs)),
  chunks.map((args): Step => ["write", ...args]),
  // Not with a status that has no body: bare Node would forget the body although that head failed.
  fc.constantFrom<Step>(["write", 7], ["write", undefined], ["writeHead", 201, ["odd"]]),
);
const ends: fc.Arbitrary<Step> = fc.oneof(
  fc.constant<Step>(["end"]),
  chunks.map(([chunk, encoding]): Step => ["end", chunk, encoding]),
);
const programs: fc.Arbitrary<Program> = fc
  .tuple(fc.array(steps, { maxLength: 8 }), ends, fc.array(steps, { maxLength: 2 }))
  // A write after the end is an error event in both, and its time is not this test's matter.
  .map(([before, end, after]) =>
    before.concat(
      [end],
      after.filter(([method]) => method !== "write"),
    ),
  );

/** Runs a program and notes what each call threw and what the handler could see after it. */
function run(program: Program, res: ServerResponse): unknown[] {
  return program.map(([method, ...given]) => {
    // Node keeps the arrays that it is given, and appends to them.
    const args = structuredClone(given);
    const threw = codeOf(() => {
      if (method === "status") res.statusCode = Number(args[0]);
      else Reflect.apply(Reflect.get(res, method), res, args);
      return undefined;
    });
    return [method, threw, res.headersSent, res.writableEnded];
  });
}

test("P1: a response arrives as without the middleware, and its replay is the same, whatever was called", async () => {
  const programsById = new Map<string, Program>();
  const seen = new Map<string, unknown[]>();
  const handler = (as: string) => (req: IncomingMessage, res: ServerResponse) => {
    const id = String(req.headers["x-program"]);
    const notes = run(programsById.get(id) ?? [], res);
    seen.set(as + id, notes);
  };
  // Every status is a result here: what is replayed is what this test is about.
  const safe = idempotency(memoryStore(), {
    methods: ["HEAD", "POST"],
    shouldStore: () => true,
  });
  await using bare = await serve(handler("bare"));
  await using kept = await serve(safe.wrap(handler("kept")));
  let count = 0;

  await fc.assert(
    fc.asyncProperty(fc.constantFrom("HEAD", "POST"), programs, async (method, program) => {
      count += 1;
      const id = String(count);
      programsById.set(id, program);
      const sent = { method, key: id, headers: { "X-Program": id } };

      const alone = await bare.send(sent);
      const first = await kept.send(sent);
      const replay = await kept.send(sent);

      expect(seen.get(`kept${id}`)).toEqual(seen.get(`bare${id}`));
      expect(essence(first)).toEqual(essence(alone));
      expect(replayEssence(replay)).toEqual(replayEssence(alone));
      expect(replay.headers["idempotency-replayed"]).toBe("true");
    }),
    { numRuns: 300 },
  );
  expect(count).toBeGreaterThanOrEqual(300);
}, 30_000);
