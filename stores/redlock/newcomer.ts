/** A node without a marker: one of a quorum that has just been founded, or one that lost its data or replaces another. */
import { setTimeout as sleep } from "node:timers/promises";
import { StoreUnavailableError } from "../../src/errors.js";
import type { Marker } from "../redis/marker.js";
import { majorityOf } from "./decisions.js";

/**
 * The processes and nodes of a new quorum start within this time. Whatever comes later joins nodes that may have
 * answered already, and cannot know what.
 */
const FOUNDING_MS = 60_000;

/**
 * @param others The markers of all other nodes.
 * @param waitMs For those that are not connected yet, where a majority does without them.
 * @throws {StoreUnavailableError} where fewer than a majority were heard: they may be old or as empty.
 */
export async function mayBeNew(others: readonly Marker[], waitMs: number): Promise<boolean> {
  let heard = 0;
  const looks = others.map(async ({ firstLook }) => {
    await firstLook;
    heard += 1;
  });
  await Promise.race([Promise.all(looks), sleep(waitMs, undefined, { ref: false })]);
  if (1 + heard < majorityOf(others.length + 1)) {
    throw new StoreUnavailableError(
      "It is empty, and too few other nodes were heard to tell whether it is new or has lost its data.",
    );
  }
  const now = Date.now();
  // Born in the future, by a clock that is wrong: how old it is, nobody knows.
  return others.every(({ bornAt }) => bornAt === undefined || Math.abs(now - bornAt) < FOUNDING_MS);
}
