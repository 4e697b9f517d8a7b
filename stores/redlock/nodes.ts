/** Which nodes the clients of a quorum stand for: their names in errors, and the proof that they are different ones. */
import type { Cluster, Redis } from "ioredis";
import { OptionsError } from "../../src/errors.js";
import { endpointName } from "../redis/name.js";

/** @throws {OptionsError} for an even number, fewer than three, the same node twice, or what is no ioredis client. */
export function nodeNames(clients: readonly (Redis | Cluster)[]): readonly string[] {
  if (!Array.isArray(clients)) {
    throw new OptionsError("redlockStore", ["clients must be an array of ioredis clients"]);
  }
  const foreign = clients.findIndex((client) => !isIoredis(client));
  if (foreign !== -1) {
    throw new OptionsError("redlockStore", [`clients[${foreign}] is no ioredis client`]);
  }
  const names = (clients as readonly (Redis | Cluster)[]).map((client) => endpointName(client));
  const mistakes = quorumMistakes(names);
  if (mistakes.length > 0) throw new OptionsError("redlockStore", mistakes);
  return names;
}

/** What keeps nodes of these names from being a quorum. */
export function quorumMistakes(names: readonly string[]): string[] {
  return [...wrongNumber(names.length), ...twice(names)];
}

function* wrongNumber(nodes: number): Iterable<string> {
  if (nodes < 3) yield `${nodes} nodes: with fewer than 3, none may fail`;
  else if (nodes % 2 === 0) {
    yield `${nodes} nodes: an even number can tie, and tolerates no more than ${nodes - 1}`;
  }
}

function* twice(names: readonly string[]): Iterable<string> {
  for (const name of new Set(names)) {
    if (names.indexOf(name) === names.lastIndexOf(name)) continue;
    yield `${name} is there twice: each node must be independent of the others`;
  }
}

function isIoredis(client: unknown): boolean {
  return typeof (client as Partial<Redis> | undefined)?.callBuffer === "function";
}
