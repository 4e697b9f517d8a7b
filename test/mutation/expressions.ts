/**
 * Mistakes in what other machines evaluate: the Lua scripts of Redis, the arguments of its commands, and the expressions
 * of DynamoDB. To the program these are strings, so each mistake is written down here, by what stands in the file.
 */
import { mutantOf, told, type Mutant } from "./mutant.js";

/** What stands there once, and what would be wrong instead of it. */
type Mistake = readonly [right: string, ...wrong: string[]];

const LUA: readonly Mistake[] = [
  // EXTEND
  [
    "if not found then return -1 end",
    "",
    "if not found then return 0 end",
    "if not found then return 1 end",
  ],
  [
    "if string.sub(found, 1, #ARGV[1]) ~= ARGV[1] then return 0 end\nreturn redis.call('PEXPIRE'",
    "return redis.call('PEXPIRE'",
    "if string.sub(found, 1, #ARGV[1]) == ARGV[1] then return 0 end\nreturn redis.call('PEXPIRE'",
    "if string.sub(found, 1, 1) ~= 'L' then return 0 end\nreturn redis.call('PEXPIRE'",
  ],
  [
    "return redis.call('PEXPIRE', KEYS[1], ARGV[2])",
    "return 1",
    "return redis.call('EXPIRE', KEYS[1], ARGV[2])",
  ],
  // STORE
  [
    "if not found or string.sub(found, 1, #ARGV[1]) == ARGV[1] then\n",
    "if true then\n",
    "if false then\n",
    "if not found then\n",
    "if string.sub(found, 1, #ARGV[1]) == ARGV[1] then\n",
    "if not found or string.sub(found, 1, #ARGV[1]) ~= ARGV[1] then\n",
    "if not found or string.sub(found, 1, 1) == 'L' then\n",
  ],
  [
    "redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])",
    "",
    "redis.call('SET', KEYS[1], ARGV[2])",
    "redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])",
  ],
  ["return found and 1 or 2", "return 0", "return 1", "return 2", "return found and 2 or 1"],
  [
    "if string.sub(found, 1, 1) ~= 'R' then return 0 end\n",
    "",
    "if string.sub(found, 1, 1) == 'R' then return 0 end\n",
  ],
  [
    "if string.sub(found, ${TOKEN_FROM}, ${TOKEN_FROM - 1} + #ARGV[4]) == ARGV[4] then return 1 end\n",
    "",
    "if true then return 1 end\n",
    "if string.sub(found, ${TOKEN_FROM}, ${TOKEN_FROM - 1} + #ARGV[4]) ~= ARGV[4] then return 1 end\n",
    "if string.sub(found, ${TOKEN_FROM}, ${TOKEN_FROM} + #ARGV[4]) == ARGV[4] then return 1 end\n",
    "if string.sub(found, ${TOKEN_FROM + 1}, ${TOKEN_FROM} + #ARGV[4]) == ARGV[4] then return 1 end\n",
  ],
  ["return found\n", "return 0\n", "return 1\n"],
  // RELEASE
  [
    "if not found or string.sub(found, 1, #ARGV[1]) ~= ARGV[1] then return 0 end\n",
    "",
    "if true then return 0 end\n",
    "if not found then return 0 end\n",
    "if string.sub(found, 1, #ARGV[1]) ~= ARGV[1] then return 0 end\n",
    "if not found or string.sub(found, 1, #ARGV[1]) == ARGV[1] then return 0 end\n",
    "if not found or string.sub(found, 1, 1) ~= 'L' then return 0 end\n",
  ],
  ["return redis.call('DEL', KEYS[1])", "return 1"],
];

const ENDPOINT: readonly Mistake[] = [
  [
    '"PX", leaseMs, "NX", "GET"]',
    '"PX", leaseMs, "GET"]',
    '"EX", leaseMs, "NX", "GET"]',
    '"NX", "GET"]',
  ],
];

const MARKER: readonly Mistake[] = [
  ['node.set(name, textOf(mark), "NX", "GET")', 'node.set(name, textOf(mark), "GET")'],
];

const REGISTER: readonly Mistake[] = [
  ['"attribute_not_exists(#id)"', '"attribute_exists(#id)"'],
  [
    "`${ABSENT} OR #endsAt <= :now`",
    "ABSENT",
    '"#endsAt <= :now"',
    "`${ABSENT} OR #endsAt < :now`",
    "`${ABSENT} OR #endsAt >= :now`",
  ],
  [
    '"#state = :held AND #token = :token"',
    '"#state = :held"',
    '"#token = :token"',
    '"#state = :held AND #token <> :token"',
    '"#state <> :held AND #token = :token"',
  ],
  [
    "`${MINE} AND #endsAt > :now`",
    "MINE",
    '"#endsAt > :now"',
    "`${MINE} AND #endsAt >= :now`",
    "`${MINE} AND #endsAt < :now`",
  ],
  ["if_not_exists(#state, :nothing)", ":nothing"],
  ["#state = :held, #token = :token, ", "#token = :token, ", "#state = :held, "],
  [
    "#fingerprint = :fingerprint, #endsAt = :endsAt, #ttl = :ttl ",
    "#endsAt = :endsAt, #ttl = :ttl ",
    "#fingerprint = :fingerprint, #ttl = :ttl ",
    "#fingerprint = :fingerprint, #endsAt = :endsAt ",
  ],
  ['"REMOVE #record, #chunks, #sha256, #size, #encoding"', '""'],
  ['"SET #endsAt = :endsAt, #ttl = :ttl"', '"SET #endsAt = :endsAt"', '"SET #ttl = :ttl"'],
  [
    "#take(EMPTY, owner, fingerprint, this.#endOf(leaseMs), deadline)",
    "#take(ABSENT, owner, fingerprint, this.#endOf(leaseMs), deadline)",
  ],
  ["#take(ABSENT, owner", "#take(EMPTY, owner"],
  ["#move(MINE, owner", "#move(MINE_STILL, owner"],
  [
    "#take(EMPTY, owner, fingerprint, endsAt, deadline)",
    "#take(ABSENT, owner, fingerprint, endsAt, deadline)",
  ],
  ["#move(MINE_STILL, owner", "#move(MINE, owner"],
  ["`(${MINE}) OR ${EMPTY}`", "MINE", "EMPTY", "`(${MINE}) OR ${ABSENT}`"],
  ["record, endsAt, MINE_STILL)", "record, endsAt, MINE)", "record, endsAt, EMPTY)"],
  ["...this.#if(MINE, owner) }", "}", "...this.#if(MINE_STILL, owner) }"],
  ['ReturnValuesOnConditionCheckFailure: "ALL_OLD"', 'ReturnValuesOnConditionCheckFailure: "NONE"'],
  ['{ ...put, ReturnValues: "ALL_OLD" }', '{ ...put, ReturnValues: "NONE" }'],
  [
    'CLAIM, ReturnValues: "ALL_OLD"',
    'CLAIM, ReturnValues: "NONE"',
    'CLAIM, ReturnValues: "ALL_NEW"',
  ],
  [
    "Math.round(this.#calls.clock.now()) - this.#options.clockSkewMs",
    "Math.round(this.#calls.clock.now())",
  ],
];

const CHUNKS: readonly Mistake[] = [
  ["`${name} ${token} ${hash} ${at}`", "`${name} ${hash} ${at}`", "`${name} ${token} ${at}`"],
];

const TRANSACTION: readonly Mistake[] = [
  ['  "TransactionConflict",\n', ""],
  ['  "ProvisionedThroughputExceeded",\n', ""],
  ['  "ThrottlingError",\n', ""],
];

const MISTAKES: Readonly<Record<string, readonly Mistake[]>> = {
  "stores/redis/scripts.ts": LUA,
  "stores/redis/endpoint.ts": ENDPOINT,
  "stores/redis/marker.ts": MARKER,
  "stores/dynamodb/register.ts": REGISTER,
  "stores/dynamodb/chunks.ts": CHUNKS,
  "stores/dynamodb/transaction.ts": TRANSACTION,
};

/** @throws {Error} where the file has changed, so that a mistake has no place in it, or more than one. */
export function expressionMutants(file: string, source: string): Mutant[] {
  const mistakes = MISTAKES[file] ?? [];
  return told(
    mistakes.flatMap(([right, ...wrong]) => {
      const from = source.indexOf(right);
      if (from === -1 || source.includes(right, from + 1)) {
        throw new Error(`${file} must have this once, for the mistakes in it: ${right}`);
      }
      const to = from + right.length;
      return wrong.map((replacement) => mutantOf(file, source, { from, to, replacement }));
    }),
  );
}
