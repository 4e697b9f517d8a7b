/** The options of the http front door. */
import type { IncomingMessage } from "node:http";
import { doorRules, type DoorOptions } from "../door/options.js";
import { protocolRelations } from "../idempotency/options.js";
import { flag, parseOptions, type Given } from "../options.js";

export interface HttpOptions extends DoorOptions<IncomingMessage> {
  /**
   * Adds to each answer to a key and a body that could be read, as `Server-Timing`, what it was (`executed`, `replayed`,
   * an error code) and how long the handler and all else took. For development: whoever gets the answers can read it.
   * Default: `false`.
   */
  readonly serverTiming: boolean;
}

/** @throws {OptionsError} naming every mistake. */
export function parseHttpOptions(given?: Given<HttpOptions>): HttpOptions {
  const rules = { ...doorRules<IncomingMessage>(given), serverTiming: flag(false) };
  return parseOptions<HttpOptions>("idempotency", given, rules, protocolRelations);
}
