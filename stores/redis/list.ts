/** What stands at Redis, by `SCAN` and the first bytes of each value: no body leaves a server. */
import type { Cluster, Redis } from "ioredis";
import { OptionsError } from "../../src/errors.js";
import type { Listed, ListPage, ListRequest } from "../listing.js";
import { storeError } from "./errors.js";
import { HEAD_BYTES, readHead } from "./value.js";

type Client = Redis | Cluster;

/** One server to scan. Its cursors mean nothing to any other, nor to itself after a restart. */
interface Place {
  /** How many of the clients come before its own. */
  readonly order: number;
  readonly runId: string;
  readonly server: Redis;
}

/** What one endpoint has under a name. */
interface Peek {
  readonly head: Buffer;
  readonly restMs: number;
  readonly bytes: number;
}

/** How many names a server looks at for one reply: far from long enough to hold up others. */
const MOST_AT_ONCE = 500;
const LEAST_AT_ONCE = 10;

/**
 * As `SCAN` does it: what stands there all the time is listed, some of it twice; what comes and goes may be.
 *
 * @param clients The one endpoint; or the nodes of a quorum, which list a key at the first of them that holds it.
 * @throws {OptionsError} for a cursor whose server was restarted, or replaced.
 * @throws {StoreUnavailableError} where no client reaches its servers; some of several are left out.
 */
export async function listRedis(
  clients: readonly Client[],
  prefix: string,
  { limit, limitMs, cursor }: ListRequest,
): Promise<ListPage> {
  const end = performance.now() + limitMs;
  const places = await placesOf(clients);
  const answering = clients.filter((_, order) => places.some((place) => place.order === order));
  let [at, from] = positionOf(cursor, places);
  const keys: Listed[] = [];
  for (let place = places[at]; place !== undefined; place = places[at]) {
    const missing = limit - keys.length;
    if (missing <= 0 || performance.now() >= end) {
      return { keys, cursor: `${place.runId}-${from}` };
    }
    const [next, names] = await scan(place.server, prefix, from, missing);
    const own = answering.indexOf(clients[place.order] as Client);
    const found = await Promise.all(names.map((name) => listed(answering, own, name, prefix)));
    keys.push(...found.filter((one) => one !== undefined));
    [at, from] = next === "0" ? [at + 1, "0"] : [at, next];
  }
  return { keys };
}

/** In the order of their ids, which no server changes while it lives. */
async function placesOf(clients: readonly Client[]): Promise<Place[]> {
  const found = await Promise.allSettled(
    clients.map(async (client, order) => {
      const servers = "nodes" in client ? client.nodes("master") : [client];
      return await heard(client, () =>
        Promise.all(
          servers.map(async (server) => ({ order, server, runId: await runIdOf(server) })),
        ),
      );
    }),
  );
  const places = found.flatMap((one) => (one.status === "fulfilled" ? one.value : []));
  const failure = found.find((one) => one.status === "rejected");
  if (places.length === 0 && failure !== undefined) throw failure.reason;
  return places.toSorted((a, b) => (a.runId < b.runId ? -1 : 1));
}

async function runIdOf(server: Redis): Promise<string> {
  const [, runId = ""] = /^run_id:(\w+)/m.exec(await server.info("server")) ?? [];
  return runId;
}

function positionOf(
  cursor: string | undefined,
  places: readonly Place[],
): [at: number, from: string] {
  if (cursor === undefined) return [0, "0"];
  const [, runId, from = ""] = /^(\w+)-(\d+)$/.exec(cursor) ?? [];
  const at = places.findIndex((place) => place.runId === runId);
  if (at >= 0) return [at, from];
  throw new OptionsError("list", [
    "cursor belongs to a server that was restarted, replaced or cannot be reached: begin again without it",
  ]);
}

async function scan(
  server: Redis,
  prefix: string,
  from: string,
  missing: number,
): Promise<[next: string, names: readonly string[]]> {
  const pattern = `${prefix.replaceAll(/[\\*?[\]]/g, String.raw`\$&`)}*`;
  const count = Math.min(Math.max(missing, LEAST_AT_ONCE), MOST_AT_ONCE);
  const [next, names] = await heard(server, () =>
    server.scan(from, "MATCH", pattern, "COUNT", count, "TYPE", "string"),
  );
  // Keys hold no spaces; the name of a marker does.
  return [next, names.filter((name) => !name.includes(" "))];
}

/** Nothing where it is gone by now, or was listed at an earlier node. */
async function listed(
  clients: readonly Client[],
  own: number,
  name: string,
  prefix: string,
): Promise<Listed | undefined> {
  const peeks = await Promise.all(clients.map((client) => peek(client, name)));
  const votes = peeks.filter((one) => one !== undefined);
  if (votes.length === 0 || peeks.slice(0, own).some((one) => one !== undefined)) return undefined;
  const counts = votes.map(({ head }) => votes.filter((other) => other.head.equals(head)).length);
  const nodes = Math.max(...counts);
  const key = name.slice(prefix.length);
  const described = describe(key, votes[counts.indexOf(nodes)] as Peek);
  return clients.length === 1 ? described : { ...described, nodes };
}

function describe(key: string, { head, restMs, bytes }: Peek): Listed {
  const what = readHead(head);
  const restEndsAt = restMs < 0 ? {} : { endsAt: Date.now() + restMs };
  if (what === undefined) return { key, state: "unknown", ...restEndsAt };
  if (what === "lock") return { key, state: "held", ...restEndsAt };
  const { statusCode, timestamp: storedAt, expiresAt: endsAt } = what;
  // The value is a mark of one byte, and the record.
  return { key, state: "completed", endsAt, bytes: bytes - 1, statusCode, storedAt };
}

async function peek(client: Client, name: string): Promise<Peek | undefined> {
  const [head, restMs, bytes] = await heard(client, () =>
    Promise.all([
      client.getrangeBuffer(name, 0, HEAD_BYTES - 1),
      client.pttl(name),
      client.strlen(name),
    ]),
  );
  return head.length === 0 ? undefined : { head, restMs, bytes };
}

async function heard<T>(client: Client, call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (error) {
    throw storeError(error, client);
  }
}
