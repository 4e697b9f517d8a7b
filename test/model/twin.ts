/**
 * The twin of one Redis server, as far as the kit uses it: the commands and scripts of the stores over one key space,
 * with time handed in. `twin.test.ts` holds it against real servers.
 */
import { EXTEND, RELEASE, STORE } from "../../stores/redis/scripts.js";
import { TOKEN_FROM } from "../../stores/redis/value.js";

export type Argument = string | number | Buffer;
/** As ioredis gives them to `…Buffer` methods. */
export type Reply = number | Buffer | null;

interface Entry {
  readonly value: Buffer;
  /** On the server's clock; the key is gone a moment later. */
  expiresAt: number;
}

/** What Redis answers with an error. */
export class ReplyError extends Error {
  override readonly name = "ReplyError";
}

type Scripted = (twin: RedisTwin, key: string, args: readonly Argument[]) => Reply;

const OK = Buffer.from("OK");
const PONG = Buffer.from("PONG");
const R = 0x52;

/** Each script, in the words of its Lua. */
const SCRIPTS: ReadonlyMap<string, Scripted> = new Map<string, Scripted>([
  [
    EXTEND.sha,
    (twin, key, [mark, leaseMs]) => {
      const found = twin.get(key);
      if (found === undefined) return -1;
      if (!startsWith(found, mark)) return 0;
      return twin.expire(key, Number(leaseMs));
    },
  ],
  [
    STORE.sha,
    (twin, key, [mark, record, ttlMs, author]) => {
      const found = twin.get(key);
      if (found === undefined || startsWith(found, mark)) {
        twin.set(key, bytes(record), Number(ttlMs));
        return found === undefined ? 2 : 1;
      }
      if (found[0] !== R) return 0;
      if (startsWith(found.subarray(TOKEN_FROM - 1), author)) return 1;
      return found;
    },
  ],
  [
    RELEASE.sha,
    (twin, key, [mark]) => {
      const found = twin.get(key);
      if (found === undefined || !startsWith(found, mark)) return 0;
      return twin.delete(key);
    },
  ],
]);

const HASHES: ReadonlyMap<string, string> = new Map(
  [EXTEND, STORE, RELEASE].map(({ lua, sha }) => [lua, sha]),
);

export class RedisTwin {
  readonly #entries = new Map<string, Entry>();
  /** Which scripts it knows: none after a restart. */
  readonly #loaded = new Set<string>();
  #now = 0;

  /** @throws {ReplyError} as the server would. */
  execute(now: number, verb: string, args: readonly Argument[]): Reply {
    this.#now = now;
    const [first, second, third, ...rest] = args;
    switch (verb) {
      case "ping":
        return PONG;
      case "get":
        return this.get(text(first)) ?? null;
      case "del":
        return this.delete(text(first));
      case "set":
        return this.#claim(text(first), args.slice(1));
      case "evalsha":
        if (!this.#loaded.has(text(first))) {
          throw new ReplyError("NOSCRIPT No matching script. Please use EVAL.");
        }
        return this.#run(text(first), text(third), rest, Number(second));
      case "eval": {
        const sha = HASHES.get(text(first)) ?? "unknown";
        this.#loaded.add(sha);
        return this.#run(sha, text(third), rest, Number(second));
      }
      default:
        throw new Error(`Bug! The twin does not know the command ${verb}.`);
    }
  }

  /** What stands there at that time, for those who watch. */
  peek(now: number, key: string): Buffer | undefined {
    this.#now = now;
    return this.get(key);
  }

  get(key: string): Buffer | undefined {
    const entry = this.#entries.get(key);
    if (entry !== undefined && entry.expiresAt >= this.#now) return entry.value;
    this.#entries.delete(key);
    return undefined;
  }

  set(key: string, value: Buffer, ttlMs: number): void {
    if (!(ttlMs > 0)) throw new ReplyError("ERR invalid expire time in 'set' command");
    this.#entries.set(key, { value, expiresAt: this.#now + ttlMs });
  }

  expire(key: string, ttlMs: number): number {
    const entry = this.#entries.get(key);
    if (this.get(key) === undefined || entry === undefined) return 0;
    entry.expiresAt = this.#now + ttlMs;
    return 1;
  }

  delete(key: string): number {
    const found = this.get(key);
    this.#entries.delete(key);
    return found === undefined ? 0 : 1;
  }

  /** What is left of a key's time, as PTTL. */
  leftMs(key: string): number {
    if (this.get(key) === undefined) return -2;
    const { expiresAt = 0 } = this.#entries.get(key) ?? {};
    return expiresAt === Infinity ? -1 : expiresAt - this.#now;
  }

  /** Scripts are kept in memory only. */
  restart({ keepData }: { readonly keepData: boolean }): void {
    this.#loaded.clear();
    if (!keepData) this.#entries.clear();
  }

  /** `SET key value [PX ms] [NX] [GET]`. */
  #claim(key: string, [value, ...flags]: readonly Argument[]): Reply {
    const found = this.get(key);
    const px = flags.indexOf("PX");
    const ttlMs = px === -1 ? Infinity : Number(flags[px + 1]);
    if (found === undefined || !flags.includes("NX")) this.set(key, bytes(value), ttlMs);
    else if (!flags.includes("GET")) return null;
    return flags.includes("GET") ? (found ?? null) : OK;
  }

  #run(sha: string, key: string, args: readonly Argument[], keys: number): Reply {
    const script = SCRIPTS.get(sha);
    if (script === undefined || keys !== 1) {
      throw new Error("Bug! The twin lacks a script that the stores use: add it to SCRIPTS.");
    }
    return script(this, key, args);
  }
}

function text(argument: Argument | undefined): string {
  return Buffer.isBuffer(argument) ? argument.toString("latin1") : String(argument);
}

function bytes(argument: Argument | undefined): Buffer {
  return Buffer.isBuffer(argument) ? argument : Buffer.from(String(argument));
}

function startsWith(value: Buffer, mark: Argument | undefined): boolean {
  const start = bytes(mark);
  return value.subarray(0, start.length).equals(start);
}
