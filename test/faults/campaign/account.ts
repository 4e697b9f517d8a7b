/** The history of a round, put together from what clients saw and what servers wrote down. */
import type { EventEntry, ExecutionEntry, History, RequestEntry } from "../history.js";
import type { Sent } from "./clients.js";
import type { Fleet, Life } from "./fleet.js";
import type { JournalEntry } from "./journal.js";

export interface Account {
  readonly history: History;
  /** Faults that struck at a stage of a request. */
  readonly struck: number;
  /** Keys whose record had to go for want of memory, as the store reported: nothing is promised of them any more. */
  readonly evicted: ReadonlySet<string>;
}

type Journaled = Life & { readonly entries: readonly JournalEntry[] };

export function accountOf(sent: readonly Sent[], fleet: Fleet): Account {
  const journals = fleet.journals();
  const requests = sent.map((one) => requestOf(one, fleet));
  const invoked = new Map(requests.map(({ id, invokedAt }) => [id, invokedAt]));
  const evicted = new Set(all(journals, "evicted").map(({ key }) => key));
  const isPromised = ({ key }: { readonly key: string }): boolean => !evicted.has(key);
  return {
    history: {
      requests: requests.filter(isPromised),
      executions: journals.flatMap((life) => executionsOf(life, invoked)).filter(isPromised),
      events: journals.flatMap(eventsOf).filter(isPromised),
      writes: [],
    },
    struck: all(journals, "dies").length + all(journals, "freezes").length,
    evicted,
  };
}

/** A deadline is judged where the client waited for it, and the server was there all the time. */
function requestOf(sent: Sent, fleet: Fleet): RequestEntry {
  const { place, settledAt, patienceMs, isPatient, ...entry } = sent;
  const waited = entry.completedAt !== undefined || settledAt - entry.invokedAt >= patienceMs;
  const wasThere = !fleet.wasDisturbed(place, entry.invokedAt, settledAt);
  return isPatient && waited && wasThere ? { ...entry, deadlineMs: patienceMs } : entry;
}

function executionsOf(
  { name, entries, diedAt }: Journaled,
  invoked: ReadonlyMap<string, number>,
): ExecutionEntry[] {
  const claims = new Map(of(entries, "claimed").map((entry) => [entry.token, entry.at]));
  const ends = new Map(of(entries, "executed").map((entry) => [entry.token, entry]));
  const stored = new Set(of(entries, "stored").map(({ token }) => token));
  const renewals = of(entries, "renewed");
  return of(entries, "executes").map(({ at, key, token, request, variant }) => {
    const ended = ends.get(token);
    return {
      key,
      fingerprint: variant,
      token,
      process: name,
      requestedAt: invoked.get(request) ?? at,
      claimedAt: claims.get(token) ?? at,
      startedAt: at,
      endedAt: ended?.at,
      end: ended?.end,
      answer: ended?.answer,
      isResult: ended?.isResult,
      crashedAt: stored.has(token) ? undefined : diedAt,
      renewedAt: renewals.filter((it) => it.token === token).map((it) => it.at),
    };
  });
}

function eventsOf({ name, entries }: Journaled): EventEntry[] {
  return of(entries, "event").map(({ at, key, event, reason }) => ({
    at,
    process: name,
    key,
    type: event,
    reason,
  }));
}

function all<T extends JournalEntry["type"]>(journals: readonly Journaled[], type: T) {
  return journals.flatMap(({ entries }) => of(entries, type));
}

function of<T extends JournalEntry["type"]>(entries: readonly JournalEntry[], type: T) {
  return entries.filter(
    (entry): entry is Extract<JournalEntry, { type: T }> => entry.type === type,
  );
}
