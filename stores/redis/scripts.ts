/**
 * The Lua scripts of both Redis stores, one endpoint's and each node's of a quorum. Each compares what it finds before
 * it changes anything, and each may be repeated: drivers resend, and late copies of a dead attempt arrive.
 */
import { createHash } from "node:crypto";
import { TOKEN_FROM } from "./value.js";

export interface Script {
  readonly lua: string;
  readonly sha: string;
}

function script(lua: string): Script {
  return { lua, sha: createHash("sha1").update(lua).digest("hex") };
}

/** Holds the key for another lease. */
export const EXTEND = script(`
-- KEYS 1: the key   ARGV 1: the mark of the holder's lock, 2: lease in ms
-- Answers 1 extended, 0 held by another or completed, -1 empty
local found = redis.call('GET', KEYS[1])
if not found then return -1 end
if string.sub(found, 1, #ARGV[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
`);

/** Completes the key where it is the holder's or empty. Never changes a record. */
export const STORE = script(`
-- KEYS 1: the key   ARGV 1: the mark of the holder's lock, 2: record, 3: TTL in ms, 4: the token in the record
-- Answers 1 stored (now or before), 2 stored where nothing was, 0 held by another, or the record that is there instead
local found = redis.call('GET', KEYS[1])
if not found or string.sub(found, 1, #ARGV[1]) == ARGV[1] then
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
  return found and 1 or 2
end
if string.sub(found, 1, 1) ~= 'R' then return 0 end
if string.sub(found, ${TOKEN_FROM}, ${TOKEN_FROM - 1} + #ARGV[4]) == ARGV[4] then return 1 end
return found
`);

/** Empties the key where it is the holder's. */
export const RELEASE = script(`
-- KEYS 1: the key   ARGV 1: the mark of the holder's lock
-- Answers 1 emptied, 0 not held
local found = redis.call('GET', KEYS[1])
if not found or string.sub(found, 1, #ARGV[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
`);
