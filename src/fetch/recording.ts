/** What is recorded of a `Response`, and what is answered in its place. */
import { STATUS_CODES } from "node:http";
import { bytesOf, fieldsOf, isJson, type Answer } from "../http/whole-answer.js";
import type { HeaderFields, RecordedResponse, TombstoneReason } from "../store.js";

/** Statuses that the Fetch standard gives no body. */
const BODILESS: ReadonlySet<number> = new Set([101, 204, 205, 304]);

export interface Recording {
  readonly recorded: Promise<RecordedResponse>;
  /** What the handler answered, once: its own response is used up. */
  readonly response: Response;
  /** Only of a response that leaves as it comes: lets its end out, or cuts it short. */
  readonly conclude: ((isKept: boolean) => void) | undefined;
}

/**
 * Reads what a handler returned, up to the limit.
 *
 * @throws {TypeError} for what cannot be answered.
 */
export async function record(returned: unknown, maxBytes: number): Promise<Recording> {
  const response = checked(returned);
  const { body } = response;
  const type = response.headers.get("Content-Type") ?? "";
  const isStream = /^text\/event-stream\b/i.test(type);
  const seen: Uint8Array[] = [];
  if (body === null) return whole(response, seen);
  const reader = body.getReader();
  if (isStream) return passing(response, { seen, reader, reason: "streamed" });
  for (let length = 0; length <= maxBytes;) {
    const { done, value } = await reader.read();
    if (done) return whole(response, seen);
    seen.push(value);
    length += value.byteLength;
  }
  return passing(response, { seen, reader, reason: "too-large" });
}

function checked(returned: unknown): Response {
  if (!(returned instanceof Response)) {
    throw new TypeError("The handler must return a Response.");
  }
  // 101 belongs to a connection, and 0 is what `Response.error()` has: neither can be an answer.
  if (returned.status < 200) {
    throw new TypeError(`The handler returned a Response with status ${returned.status}.`);
  }
  if (returned.bodyUsed || returned.body?.locked === true) {
    throw new TypeError("The handler returned a Response whose body was read already.");
  }
  return returned;
}

function whole(response: Response, seen: readonly Uint8Array[]): Recording {
  const recorded = {
    ...headOf(response),
    headers: [...response.headers],
    body: Buffer.concat(seen),
  };
  return {
    recorded: Promise.resolve(recorded),
    response: new Response(response.body === null ? null : recorded.body, response),
    conclude: undefined,
  };
}

interface Passing {
  readonly seen: Uint8Array[];
  readonly reader: ReadableStreamDefaultReader<Uint8Array>;
  readonly reason: TombstoneReason;
}

/** A response that leaves as it comes. Only its end is held back, until the tombstone is stored. */
function passing(response: Response, { seen, reader, reason }: Passing): Recording {
  const head = headOf(response);
  const recording = deferred<RecordedResponse>();
  const tombstone = { ...head, headers: [], body: Buffer.alloc(0), tombstone: reason };
  const concluded = deferred<boolean>();
  const body = new ReadableStream<Uint8Array>({
    async pull(controller) {
      const next = seen.shift();
      if (next !== undefined) return controller.enqueue(next);
      const { done, value } = await reader.read().catch((error: unknown) => {
        recording.reject(error);
        throw error;
      });
      if (!done) return controller.enqueue(value);
      recording.resolve(tombstone);
      if (await concluded.promise) controller.close();
      else controller.error(new Error("The result of this request is not known."));
    },
    // Nobody listens any more: what ran has run.
    async cancel(why) {
      recording.resolve(tombstone);
      await reader.cancel(why);
    },
  });
  const headers = new Headers(response.headers);
  // With a length the client would know the end before it comes.
  headers.delete("Content-Length");
  const { status, statusText } = response;
  return {
    recorded: recording.promise,
    response: new Response(body, { status, statusText, headers }),
    conclude: concluded.resolve,
  };
}

/** `Promise.withResolvers` of later Nodes. */
function deferred<T>() {
  let resolve!: (value: T) => void;
  let reject!: (error: unknown) => void;
  const promise = new Promise<T>((...settle) => {
    [resolve, reject] = settle;
  });
  return { promise, resolve, reject };
}

function headOf({
  status,
  statusText,
}: Response): Pick<RecordedResponse, "statusCode" | "statusMessage"> {
  return statusText === "" || statusText === STATUS_CODES[status]
    ? { statusCode: status }
    : { statusCode: status, statusMessage: statusText };
}

/** For `commitWith`. */
export function recordingOfAnswer(
  { statusCode = 200, headers = {}, body }: Answer,
  maxBytes: number,
): RecordedResponse {
  const given = fieldsOf(headers);
  const isTyped = given.some(([name]) => name.toLowerCase() === "content-type");
  const typed: HeaderFields =
    isJson(body) && !isTyped ? [["Content-Type", "application/json"], ...given] : given;
  const bytes = BODILESS.has(statusCode) ? Buffer.alloc(0) : bytesOf(body);
  if (bytes.byteLength > maxBytes) {
    throw new RangeError(
      `The answer has ${bytes.byteLength} bytes, and maxResponseBytes is ${maxBytes}: it could not be replayed.`,
    );
  }
  const recorded = { statusCode, headers: typed, body: bytes };
  // Fails here, where it is the handler's mistake, and not when it is to be sent.
  responseOf(recorded);
  return recorded;
}

export function responseOf(
  { statusCode, statusMessage = "", headers, body }: Omit<RecordedResponse, "tombstone">,
  extra: HeaderFields = [],
): Response {
  const fields = new Headers();
  for (const [name, value] of headers) fields.append(name, value);
  for (const [name, value] of extra) fields.set(name, value);
  return new Response(BODILESS.has(statusCode) ? null : body, {
    status: statusCode,
    statusText: statusMessage,
    headers: fields,
  });
}
