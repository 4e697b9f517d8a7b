import type { IncomingMessage, ServerResponse } from "node:http";
import { expect } from "vitest";
import { idempotency, type HttpOptions } from "../../src/index.js";
import { memoryStore } from "../../stores/memory.js";
import { deferred } from "./deferred.js";
import { serve, type Answer, type Listener, type Sent } from "./http.js";

/** Fields that may differ from the bare handler's: the connection's and the framing's. */
const FRAMING = new Set([
  "date",
  "connection",
  "keep-alive",
  "content-length",
  "transfer-encoding",
]);

/** Fields that a replay has of its own, and those that it leaves out. */
const OF_REPLAYS = new Set([
  ...FRAMING,
  "idempotency-replayed",
  "cache-control",
  "set-cookie",
  "trailer",
]);

/** What the client may rely on: header names by case, values and repetitions in their order. */
export function essence(answer: Answer, without: ReadonlySet<string> = FRAMING) {
  const fields = new Map<string, string[]>();
  for (let i = 0; i < answer.rawHeaders.length; i += 2) {
    const [name = "", value = ""] = answer.rawHeaders.slice(i, i + 2);
    if (!without.has(name.toLowerCase())) fields.set(name, [...(fields.get(name) ?? []), value]);
  }
  return {
    status: answer.status,
    reason: answer.reason,
    fields: Object.fromEntries(fields),
    trailers: answer.rawTrailers,
    body: answer.body.toString("hex"),
  };
}

export function replayEssence(answer: Answer) {
  return essence(answer, OF_REPLAYS);
}

interface Compared {
  readonly bare: Answer;
  readonly first: Answer;
  readonly replay: Answer;
  /** How often the handler ran under the middleware. */
  readonly runs: number;
}

/** A handler answers the same bare, on the first keyed request, and on its replay. */
export async function expectTransparent(
  handler: (req: IncomingMessage, res: ServerResponse) => unknown,
  sent: Sent = {},
  options: Partial<HttpOptions> = {},
): Promise<Compared> {
  let runs = 0;
  const safe = idempotency(memoryStore(), { methods: ["HEAD", "POST"], ...options });
  await using alone = await serve(handler);
  await using server = await serve(
    safe.wrap((req, res) => {
      runs += 1;
      return handler(req, res);
    }),
  );

  const bare = await alone.send(sent);
  const first = await server.send({ ...sent, key: "k" });
  const replay = await server.send({ ...sent, key: "k" });

  expect(essence(first)).toEqual(essence(bare));
  expect(first.headers["idempotency-replayed"]).toBeUndefined();
  expect(replayEssence(replay)).toEqual(replayEssence(bare));
  expect(replay.headers).toMatchObject({
    "idempotency-replayed": "true",
    "cache-control": "no-store",
  });
  return { bare, first, replay, runs };
}

/** Notes what a handler sees of its response. */
export type Note = (...seen: readonly unknown[]) => void;

type NotingHandler = (res: ServerResponse, note: Note, req: IncomingMessage) => unknown;

/** A handler sees the same of its response bare and under the middleware; answers with what it saw. */
export async function expectSeenAlike(
  handler: NotingHandler,
  sent: Sent = {},
  options: Partial<HttpOptions> = {},
): Promise<readonly (readonly unknown[])[]> {
  const safe = idempotency(memoryStore(), { methods: ["HEAD", "POST"], ...options });
  const bare = await seen(handler, sent, (listener) => listener);
  const kept = await seen(handler, { ...sent, key: "k" }, (listener) => safe.wrap(listener));
  expect(kept).toEqual(bare);
  return bare;
}

async function seen(handler: NotingHandler, sent: Sent, under: (listener: Listener) => Listener) {
  const notes: (readonly unknown[])[] = [];
  const closed = deferred();
  await using server = await serve(
    under((req, res) => {
      // Once more at the end of the turn, so that the handler's own listeners have noted it.
      res.on("close", () => setImmediate(closed.resolve));
      return handler(res, (...what) => notes.push(what), req);
    }),
  );
  await server
    .send(sent)
    .catch((error: NodeJS.ErrnoException) => notes.push(["client", error.code]));
  await closed.promise;
  return notes;
}

/** The code of the error that something throws, or what it returns. */
export function codeOf(attempt: () => unknown): unknown {
  try {
    return attempt();
  } catch (error) {
    return (error as NodeJS.ErrnoException).code;
  }
}
