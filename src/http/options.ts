/** The options of the http front door. */
import type { IncomingMessage } from "node:http";
import { parseDoorOptions, type DoorOptions } from "../door/options.js";
import type { Given } from "../options.js";

export interface HttpOptions extends DoorOptions<IncomingMessage> {}

/** @throws {OptionsError} naming every mistake. */
export function parseHttpOptions(given?: Given<HttpOptions>): HttpOptions {
  return parseDoorOptions<IncomingMessage>("idempotency", given);
}
