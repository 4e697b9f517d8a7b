/** Redis URLs, parsed here because several hosts fit no standard URL, and because no error may repeat a password. */
import { OptionsError } from "../../src/errors.js";

export interface RedisHost {
  readonly host: string;
  readonly port: number;
}

export interface RedisTarget {
  readonly topology: "single" | "sentinel" | "cluster";
  readonly tls: boolean;
  readonly hosts: readonly RedisHost[];
  readonly username: string | undefined;
  readonly password: string | undefined;
  readonly db: number;
  /** The name that sentinels know the master by. */
  readonly masterName: string | undefined;
}

const SHAPE =
  /^(?<scheme>rediss?(?:\+sentinel|\+cluster)?):\/\/(?:(?<user>[^/?#]*)@)?(?<hosts>[^/?#]*)(?<path>\/[^?#]*)?(?<query>[?#].*)?$/i;
const HOST = /^(?:\[(?<v6>[0-9a-f:.%]+)\]|(?<name>[^:[\]\s]+))(?::(?<port>\d{1,5}))?$/i;

const REDIS_PORT = 6379;
const SENTINEL_PORT = 26_379;
const LAST_PORT = 65_535;

/** @throws {OptionsError} that says what is wrong and repeats nothing of the URL. */
export function parseTarget(url: string | readonly string[]): RedisTarget {
  if (!Array.isArray(url)) return parseUrl(url);
  const seeds = Array.from(url as readonly string[], parseUrl);
  const [first] = seeds;
  if (first === undefined) throw mistake("the list of URLs is empty");
  for (const seed of seeds) {
    if (seed.topology === "sentinel")
      throw mistake("a list of URLs names seeds of a Cluster, no sentinels");
    if (seed.db !== 0) throw mistake("Redis Cluster has database 0 only");
    if (
      seed.tls !== first.tls ||
      seed.username !== first.username ||
      seed.password !== first.password
    ) {
      throw mistake("all seeds of a Cluster must have the same scheme, user and password");
    }
  }
  return { ...first, topology: "cluster", hosts: seeds.flatMap(({ hosts }) => hosts) };
}

/** @param url Anything but a string where a variable is not set. */
function parseUrl(url: unknown): RedisTarget {
  const parts = typeof url === "string" ? SHAPE.exec(url)?.groups : undefined;
  if (parts === undefined) {
    throw mistake(
      "a URL must begin with redis://, rediss://, redis+sentinel:// or redis+cluster://, and name a host",
    );
  }
  if (parts["query"] !== undefined)
    throw mistake("a URL has no ?parameters: give them as overrides");
  const [scheme = "", kind = "single"] = (parts["scheme"] ?? "").toLowerCase().split("+");
  const topology = kind as RedisTarget["topology"];
  const hosts = parseHosts(parts["hosts"] ?? "", topology);
  const [masterName, db] = parsePath(parts["path"] ?? "", topology);
  return { topology, tls: scheme === "rediss", hosts, masterName, db, ...parseUser(parts["user"]) };
}

function parseHosts(text: string, topology: RedisTarget["topology"]): RedisHost[] {
  const hosts = text.split(",").map((host, at) => {
    const parts = HOST.exec(host)?.groups;
    const port = Number(parts?.["port"] ?? (topology === "sentinel" ? SENTINEL_PORT : REDIS_PORT));
    if (parts === undefined || port < 1 || port > LAST_PORT) {
      throw mistake(
        `host ${at + 1} must be host, host:port or [IPv6]:port, with / ? # @ in a password percent-encoded`,
      );
    }
    return { host: parts["v6"] ?? parts["name"] ?? "", port };
  });
  if (topology === "single" && hosts.length > 1) {
    throw mistake("several hosts need redis+sentinel:// or redis+cluster://");
  }
  return hosts;
}

/** `/db`, for sentinels `/masterName/db`. */
function parsePath(
  path: string,
  topology: RedisTarget["topology"],
): [masterName: string | undefined, db: number] {
  const words = path.split("/").slice(1);
  const masterName = topology === "sentinel" ? decoded(words.shift() ?? "") : undefined;
  if (masterName === "") {
    throw mistake("a Sentinel URL must name the master: redis+sentinel://host:port/masterName");
  }
  const [db = "", ...more] = words;
  if (!/^\d{0,5}$/.test(db) || more.length > 0) throw mistake("the database must be a number");
  if (topology === "cluster" && Number(db) !== 0)
    throw mistake("Redis Cluster has database 0 only");
  return [masterName, Number(db)];
}

/** `user:password`, `:password`, or `user` of an ACL that asks for none. */
function parseUser(text: string | undefined): Pick<RedisTarget, "username" | "password"> {
  if (text === undefined || text === "") return { username: undefined, password: undefined };
  const colon = text.indexOf(":");
  const username = decoded(colon === -1 ? text : text.slice(0, colon));
  const password = colon === -1 ? "" : decoded(text.slice(colon + 1));
  return { username: username === "" ? undefined : username, password };
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw mistake("user, password and master name must be percent-encoded");
  }
}

function mistake(what: string): OptionsError {
  return new OptionsError("connectRedis", [what]);
}
