/** `inspect <key>`: what is stored under a client's key. */
import type { CachedResponse } from "../../src/index.js";
import { readEnvironment } from "../../stores/from-env/environment.js";
import { EXIT, type Command, type Result } from "./command.js";
import { columns, harmless, moment } from "./print.js";
import { KEY_HELP, KEY_OPTIONS, storedKeyOf } from "./stored-key.js";
import { withSharedStore } from "./with-store.js";

export const inspect: Command = {
  usage: "inspect <key>",
  summary: "shows the response that is stored under a client's key",
  help: [...KEY_HELP, "--body           shows the body too, which may be confidential"],
  options: { ...KEY_OPTIONS, body: { type: "boolean" } },
  positionals: 1,
  run: async ({ positionals: [key = ""], flags, env }) => {
    const stored = storedKeyOf(key, flags);
    const response = await withSharedStore(readEnvironment(env), ({ store }) => store.get(stored));
    return response === undefined
      ? notFound(stored)
      : found(stored, response, flags["body"] === true);
  },
};

export function notFound(key: string): Result {
  return {
    exitCode: EXIT.findings,
    json: { found: false, key },
    text:
      `Nothing is stored under ${key}.\n` +
      "Its request was never made, still runs, was not to be kept, or its time is over; or --scope is another.",
  };
}

function found(key: string, response: CachedResponse, withBody: boolean): Result {
  const { statusCode, statusMessage, headers, body, trailers, tombstone } = response;
  const bodyField = bodyOf(response);
  return {
    exitCode: EXIT.ok,
    json: {
      found: true,
      key,
      statusCode,
      ...(statusMessage === undefined ? {} : { statusMessage }),
      headers,
      ...(trailers === undefined ? {} : { trailers }),
      bodyBytes: body.byteLength,
      storedAt: moment(response.timestamp),
      expiresAt: moment(response.expiresAt),
      ...(tombstone === undefined ? {} : { tombstone }),
      ...(withBody ? { body: bodyField } : {}),
    },
    text: [described(key, response), ...(withBody ? ["", harmless(bodyField.text)] : [])].join(
      "\n",
    ),
  };
}

/** The record without its body. */
export function described(key: string, response: CachedResponse): string {
  const { statusCode, statusMessage = "", headers, body, tombstone } = response;
  return columns([
    ["Key", key],
    ["Status", harmless(`${statusCode} ${statusMessage}`.trim())],
    ["Stored", moment(response.timestamp)],
    ["Expires", moment(response.expiresAt)],
    ["Body", tombstone === undefined ? `${body.byteLength} bytes` : `not kept (${tombstone})`],
    ...headers.map(([name, value]) => ["Header", harmless(`${name}: ${value}`)] as const),
  ]);
}

/** As text where it is some; scripts get every byte. */
function bodyOf({ body }: CachedResponse): { encoding: "utf8" | "base64"; text: string } {
  try {
    return { encoding: "utf8", text: new TextDecoder("utf-8", { fatal: true }).decode(body) };
  } catch {
    return { encoding: "base64", text: Buffer.from(body).toString("base64") };
  }
}
