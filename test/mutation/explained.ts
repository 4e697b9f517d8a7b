/** The mistakes that no test can find, or none shall, and why. */

export interface Explanation {
  readonly file: string;
  /** `before → after`, as the runner names them. */
  readonly mutants: readonly string[];
  readonly why: string;
}

export const EXPLAINED: readonly Explanation[] = [
  {
    file: "stores/redlock/decisions.ts",
    mutants: [
      'const abstaining = votes.filter((vote) => vote.kind === "down" && vote.abstains === true).length; → const abstaining = votes.filter((vote) => vote.abstains === true).length;',
    ],
    why: "No other vote has that property; the first part is for the compiler.",
  },
  {
    file: "stores/redlock/decisions.ts",
    mutants: [
      'if (live.length === 0 && granted >= majority) return { state: "acquired" }; → if (granted >= majority) return { state: "acquired" };',
    ],
    why: "With a majority of grants a living record has been adopted above. The line says on its own what it grants.",
  },
  {
    file: "stores/redlock/decisions.ts",
    mutants: [
      'if (most !== undefined && holders >= majority) return { state: "found", record: most.record }; → if (holders >= majority) return { state: "found", record: most.record };',
    ],
    why: "Without a record there are no holders; the first part is for the compiler.",
  },
  {
    file: "stores/redlock/voter.ts",
    mutants: [
      "if (lateMs >= 0) { → if (lateMs > 0) {",
      "this.#awaited = lateMs > LONGEST_PAUSE_MS ? probe : undefined; → this.#awaited = lateMs >= LONGEST_PAUSE_MS ? probe : undefined;",
    ],
    why: "A single instant of a clock that counts in parts of microseconds.",
  },
  {
    file: "stores/memory/entries.ts",
    mutants: [
      "for (let left = REAPED_PER_WRITE; left > 0; left -= 1) { → for (let left = REAPED_PER_WRITE; left >= 0; left -= 1) {",
    ],
    why: "How many expired entries one write drops is a matter of pace.",
  },
  {
    file: "stores/memory/expiry-heap.ts",
    mutants: [
      "if (last !== undefined && last !== item) this.#settle(last, item.place); → if (last !== item) this.#settle(last, item.place);",
      "return left && right && right.until < left.until ? right : left; → return right && right.until < left.until ? right : left;",
    ],
    why: "For the compiler: a heap that something is removed from has a last item, and no right child is without a left one.",
  },
  {
    file: "stores/memory/expiry-heap.ts",
    mutants: [
      "for (let above = this.#above(free); above && above.until > item.until;) { → for (let above = this.#above(free); above;) {",
      "return place === 0 ? undefined : this.#items[(place - 1) >> 1]; → return false ? undefined : this.#items[(place - 1) >> 1];",
    ],
    why: "Slower, not wrong: an item that rises too far sinks again, and an array has nothing at −1.",
  },
  {
    file: "stores/memory/expiry-heap.ts",
    mutants: [
      "for (let above = this.#above(free); above && above.until > item.until;) { → for (let above = this.#above(free); above && above.until >= item.until;) {",
      "for (let below = this.#below(free); below && below.until < item.until;) { → for (let below = this.#below(free); below && below.until <= item.until;) {",
      "return left && right && right.until < left.until ? right : left; → return left && right && right.until <= left.until ? right : left;",
    ],
    why: "Of items that expire at the same time, either may be first.",
  },
  {
    file: "stores/memory/frames.ts",
    mutants: [
      "size > LARGEST_TEXT ? Buffer.allocUnsafeSlow(size) : Buffer.allocUnsafe(size), → true ? Buffer.allocUnsafeSlow(size) : Buffer.allocUnsafe(size),",
      "size > LARGEST_TEXT ? Buffer.allocUnsafeSlow(size) : Buffer.allocUnsafe(size), → false ? Buffer.allocUnsafeSlow(size) : Buffer.allocUnsafe(size),",
      "size > LARGEST_TEXT ? Buffer.allocUnsafeSlow(size) : Buffer.allocUnsafe(size), → size >= LARGEST_TEXT ? Buffer.allocUnsafeSlow(size) : Buffer.allocUnsafe(size),",
      'const frame = encoded.length > LARGEST_TEXT ? encoded : encoded.toString("latin1"); → const frame = true ? encoded : encoded.toString("latin1");',
      'const frame = encoded.length > LARGEST_TEXT ? encoded : encoded.toString("latin1"); → const frame = false ? encoded : encoded.toString("latin1");',
      'const frame = encoded.length > LARGEST_TEXT ? encoded : encoded.toString("latin1"); → const frame = encoded.length >= LARGEST_TEXT ? encoded : encoded.toString("latin1");',
      'return typeof frame === "string" ? Buffer.from(frame, "latin1") : Buffer.from(frame); → return true ? Buffer.from(frame, "latin1") : Buffer.from(frame);',
    ],
    why: "Performance only: the same bytes in another kind of memory, read back from either.",
  },
  {
    file: "stores/dynamodb/register.ts",
    mutants: [
      "return found !== undefined && found.endsAt > this.#now() ? found : undefined; → return found !== undefined && found.endsAt >= this.#now() ? found : undefined;",
      "if (Math.abs(endsAt - guess) <= MAX_GUESS_ERROR_MS) return standing; → if (Math.abs(endsAt - guess) < MAX_GUESS_ERROR_MS) return standing;",
    ],
    why: "A single millisecond, of a clock that is known less exactly; `clockSkewMs` is far larger.",
  },
  {
    file: "stores/dynamodb/register.ts",
    mutants: [
      "} else if (standing.endsAt > this.#now()) return standing; → } else if (standing.endsAt >= this.#now()) return standing;",
    ],
    why: "In that millisecond the claim is refused here, or by DynamoDB's own condition: the next one is granted.",
  },
  {
    file: "stores/dynamodb/register.ts",
    mutants: [
      "if (standing !== undefined) await this.#calls.send(DeleteItemCommand, this.#at(key), deadline); → if (true) await this.#calls.send(DeleteItemCommand, this.#at(key), deadline);",
    ],
    why: "A deletion of nothing costs a write unit, and deletes nothing.",
  },
  {
    file: "stores/dynamodb/register.ts",
    mutants: ["if (known !== undefined) return known; → if (false) return known;"],
    why: "Performance only: an expression is taken apart again.",
  },
  {
    file: "src/idempotency.ts",
    mutants: [
      "if (performance.now() >= lease.validUntil) { → if (performance.now() > lease.validUntil) {",
    ],
    why: "A single instant of a clock that counts in parts of microseconds.",
  },
  {
    file: "src/idempotency.ts",
    mutants: [
      "const decided = execution.decision && (await execution.decision); → const decided = await execution.decision;",
    ],
    why: "Performance only: where nothing is committed, nothing is waited for.",
  },
  {
    file: "stores/redlock/quorum.ts",
    mutants: [
      'if (performance.now() < lease.validUntil) return { state: "acquired", lease }; → if (performance.now() <= lease.validUntil) return { state: "acquired", lease };',
    ],
    why: "A single instant, in which the protocol refuses the lease as over.",
  },
  {
    file: "src/idempotency/heartbeat.ts",
    mutants: [
      "return this.#lost === undefined && performance.now() < this.#validUntil; → return this.#lost === undefined && performance.now() <= this.#validUntil;",
      'if (now >= this.#validUntil) return this.#lose(now >= this.endsAt ? "max-handling" : "expired"); → if (now >= this.#validUntil) return this.#lose(now > this.endsAt ? "max-handling" : "expired");',
      "if (now >= this.endsAt || this.#reachesDeadline()) return this.#beatIn(this.#validUntil - now); → if (now > this.endsAt || this.#reachesDeadline()) return this.#beatIn(this.#validUntil - now);",
      "return this.#validUntil > this.deadline - LEAST_GAIN_MS; → return this.#validUntil >= this.deadline - LEAST_GAIN_MS;",
      "if (held && performance.now() < this.#validUntil) this.#validUntil = startedAt + leaseMs; → if (held && performance.now() <= this.#validUntil) this.#validUntil = startedAt + leaseMs;",
    ],
    why: "A single instant of a clock that counts in parts of microseconds.",
  },
  {
    file: "src/idempotency/pending.ts",
    mutants: [
      "while (performance.now() < until) { → while (performance.now() <= until) {",
      "if (ttlMs <= 0) break; → if (ttlMs < 0) break;",
    ],
    why: "A single instant: one offer more or less, of a record that is over as it is stored.",
  },
  {
    file: "src/idempotency/pending.ts",
    mutants: [
      "await store.extend(lease, this.#leaseMs(deadline), deadline).catch(() => false); → await store.extend(lease, this.#leaseMs(deadline), deadline).catch(() => true);",
    ],
    why: "Nobody reads that answer, as the comment above it says.",
  },
  {
    file: "stores/redlock/quorum.ts",
    mutants: [
      'if (vote === undefined || vote.kind === "lock") return { kind: "held" }; → if (vote.kind === "lock") return { kind: "held" };',
    ],
    why: "Every node has a vote by then; the first part is for the compiler.",
  },
  {
    file: "stores/redlock/quorum.ts",
    mutants: [
      'if (vote === undefined || vote.kind === "lock") return { kind: "held" }; → if (vote === undefined) return { kind: "held" };',
      'if (vote.kind === "down") return vote; → if (false) return vote;',
    ],
    why: "Performance only: the node is asked, and says itself that it is held, or down.",
  },
  {
    file: "stores/redis/endpoint.ts",
    mutants: [
      'return found === undefined || (found.kind === "lock" && found.token === token) → return found === undefined || (found.token === token)',
    ],
    why: "A token's record is written when its claim has been answered: no claim that is waited for finds it.",
  },
  {
    file: "stores/redis/endpoint.ts",
    mutants: [
      "if (Buffer.isBuffer(answer)) return readValue(answer); → if (true) return readValue(answer);",
    ],
    why: "No server answers these commands with anything else; the line says so in words, should one do.",
  },
  {
    file: "stores/redlock/locks.ts",
    mutants: [
      'if (round === undefined) throw new Error("Bug! Redlock claims outside of a round."); → if (false) throw new Error("Bug! Redlock claims outside of a round.");',
    ],
    why: "It cannot happen; the line says so in words, should it.",
  },
  {
    file: "stores/redlock/locks.ts",
    mutants: [
      'if (late === "granted") node.release(key, token).catch(() => {}); → if (true) node.release(key, token).catch(() => {});',
    ],
    why: "Performance only: to give back what was not granted changes nothing.",
  },
  {
    file: "src/idempotency.ts",
    mutants: [
      "if (statusMessage !== undefined) response.statusMessage = statusMessage; → if (true) response.statusMessage = statusMessage;",
      "if (trailers !== undefined) response.trailers = trailers; → if (true) response.trailers = trailers;",
      "if (tombstone !== undefined) response.tombstone = tombstone; → if (true) response.tombstone = tombstone;",
    ],
    why: "A field that is undefined is as good as none to every store.",
  },
  {
    file: "stores/redis/commands.ts",
    mutants: [
      "const isMixing = client.options.enableAutoPipelining === true; → const isMixing = true;",
    ],
    why: "Performance only: what is sent around auto-pipelining where there is none is sent at once, as without.",
  },
  {
    file: "src/idempotency/guarded-store.ts",
    mutants: ['if (state === "waiting") state = "settled"; → if (true) state = "settled";'],
    why: "Once it has expired and been told so, nobody asks for the state any more.",
  },
  {
    file: "src/idempotency/waiters.ts",
    mutants: [
      "if (done(result) || this.#waiting >= this.#options.maxWaiters) return result; → if (this.#waiting >= this.#options.maxWaiters) return result;",
    ],
    why: "Performance only: what is done ends the loop before it begins.",
  },
  {
    file: "src/idempotency/waiters.ts",
    mutants: ["if (leftMs <= 0) break; → if (leftMs < 0) break;"],
    why: "A single instant: one question more or less at the end of the wait.",
  },
  {
    file: "src/idempotency/waiters.ts",
    mutants: [
      'signal?.addEventListener("abort", end, { once: true }); → signal?.addEventListener("abort", end, { once: false });',
    ],
    why: "It is taken back as the pause ends, whatever ended it.",
  },
  {
    file: "src/idempotency/headers.ts",
    mutants: ["if (lines.length === 0) return NONE; → if (false) return NONE;"],
    why: "Performance only: the same set, empty, made anew.",
  },
  {
    file: "stores/redlock/quorum.ts",
    mutants: [
      'return results.some((it) => it.status === "fulfilled" && it.value); → return results.some((it) => it.value);',
    ],
    why: "What failed has no value; the first part is for the compiler.",
  },
  {
    file: "stores/redlock/locks.ts",
    mutants: [
      'return vote?.kind === "granted" && state !== "adopt" && state !== "completed"; → return state !== "adopt" && state !== "completed";',
    ],
    why: "Performance only: a lock that is not the owner's is not released by its token.",
  },
  {
    file: "stores/redlock/locks.ts",
    mutants: [
      "if (!(error instanceof ExecutionError)) throw error; → if (false) throw error;",
      "if (!(error instanceof ExecutionError)) throw error; → if (false) throw error; (2)",
    ],
    why: "Redlock throws nothing else; should it, the error is not lost.",
  },
  {
    file: "stores/redis/commands.ts",
    mutants: [
      "return send(isMixing ? sendingBy(client, (built) => [built]) : client, command); → return send(true ? sendingBy(client, (built) => [built]) : client, command);",
      "if (!isGathering) setImmediate(() => stream.uncork()); → if (true) setImmediate(() => stream.uncork());",
      "if (isGathering && stream.writableLength < GATHERED_BYTES) return; → if (isGathering && stream.writableLength <= GATHERED_BYTES) return;",
    ],
    why: "Performance only: the same commands leave in the same order, in other portions.",
  },
  {
    file: "stores/redis/commands.ts",
    mutants: [
      'if (!("nodes" in client)) client.stream?.uncork(); → if (true) client.stream?.uncork();',
    ],
    why: "A Cluster has no stream of its own; the condition is for the compiler.",
  },
  {
    file: "stores/redis/commands.ts",
    mutants: [
      'if (status !== "ready" || stream === undefined) return; → if (status !== "ready") return;',
      'if (status !== "ready" || stream === undefined) return; → if (stream === undefined) return;',
    ],
    why: "A client of ioredis that is ready has a stream, and what is written to one that is not is not held back for long.",
  },
  {
    file: "stores/redis/commands.ts",
    mutants: ["if (!client.isCluster) return [built]; → if (false) return [built];"],
    why: "A single client ignores where a Cluster would send a command.",
  },
  {
    file: "stores/dynamodb/register.ts",
    mutants: [
      "return Math.max(endsAt > now ? endsAt - now : endsAt - this.#now(), 1); → return Math.max(endsAt >= now ? endsAt - now : endsAt - this.#now(), 1);",
      "const EMPTY = `${ABSENT} OR #endsAt <= :now`; → const EMPTY = `${ABSENT} OR #endsAt < :now`;",
      "const MINE_STILL = `${MINE} AND #endsAt > :now`; → const MINE_STILL = `${MINE} AND #endsAt >= :now`;",
    ],
    why: "A single millisecond of clocks that are known to a tenth of a second.",
  },
  {
    file: "stores/dynamodb/records.ts",
    mutants: [
      "if (packed.bytes.length <= this.#limits.maxInlineBytes) return recordAttributes(packed, packed); → if (packed.bytes.length < this.#limits.maxInlineBytes) return recordAttributes(packed, packed);",
      "if (frame.length <= this.#limits.maxRecordBytes) return frame; → if (frame.length < this.#limits.maxRecordBytes) return frame;",
    ],
    why: "A single byte of a limit that counts what the frame adds, too.",
  },
  {
    file: "stores/dynamodb/chunks.ts",
    mutants: [
      "if (id !== undefined && part !== undefined) found.set(id, part); → if (id !== undefined) found.set(id, part);",
      "if (id !== undefined && part !== undefined) found.set(id, part); → if (part !== undefined) found.set(id, part);",
    ],
    why: "What is undefined is as good as missing, and nobody looks for a part without a name; the conditions are for the compiler.",
  },
  {
    file: "stores/dynamodb/chunks.ts",
    mutants: ["if (left.length < keys.length) attempt = 0; → if (false) attempt = 0;"],
    why: "Performance only: longer pauses than need be.",
  },
  {
    file: "stores/dynamodb/chunks.ts",
    mutants: [
      "return Array.from({ length: count }, (_, at) => `${name} ${token} ${hash} ${at}`); → return Array.from({ length: count }, (_, at) => `${name} ${hash} ${at}`);",
    ],
    why: "The hash alone keeps contents apart. With the token no late holder can shorten the life of the other's parts, for which a day of grace has room as well.",
  },
  {
    file: "stores/redlock/voter.ts",
    mutants: [
      "if (!marker.isSeen) await marker.look(); → if (true) await marker.look();",
      "if (!marker.isSeen) await marker.look(); → if (true) await marker.look(); (2)",
    ],
    why: "Performance only: of a node that is seen, a look asks nothing.",
  },
  {
    file: "stores/redlock/voter.ts",
    mutants: ["if (leftMs <= 0) return; → if (leftMs < 0) return;"],
    why: "A single instant.",
  },
  {
    file: "stores/dynamodb/writes.ts",
    mutants: ["if (total > MOST_BYTES) { → if (total >= MOST_BYTES) {"],
    why: "A single byte of a limit that DynamoDB checks as well.",
  },
  {
    file: "stores/dynamodb/writes.ts",
    mutants: [
      'if (typeof value !== "object" || value === null) return false; → if (value === null) return false;',
    ],
    why: "What is no object has no property that is the name of a type.",
  },
  {
    file: "stores/redlock/voter.ts",
    mutants: ["if (this.#isDown) return; → if (false) return;"],
    why: "A matter of pace: each call that was under way puts the first ping off once more, by no more than nodeTimeoutMs.",
  },
  {
    file: "stores/redlock/newcomer.ts",
    mutants: [
      "await Promise.race([Promise.all(looks), sleep(waitMs, undefined, { ref: false })]); → await Promise.race([Promise.all(looks), sleep(waitMs, undefined, { ref: true })]);",
    ],
    why: "A process that ends at its start would wait for half of nodeTimeoutMs.",
  },
  {
    file: "stores/redlock/newcomer.ts",
    mutants: [
      "return others.every(({ bornAt }) => bornAt === undefined || Math.abs(now - bornAt) < FOUNDING_MS); → return others.every(({ bornAt }) => bornAt === undefined || Math.abs(now - bornAt) <= FOUNDING_MS);",
    ],
    why: "A single millisecond of a minute.",
  },
  {
    file: "stores/redis/marker.ts",
    mutants: [
      'return all.flatMap((it) => (it.status === "fulfilled" ? (it.value ?? []) : [])); → return all.flatMap((it) => (true ? (it.value ?? []) : []));',
    ],
    why: "What failed has no value; the condition is for the compiler.",
  },
];

/** By mutant, as `file: before → after`. */
export function explanations(): ReadonlyMap<string, string> {
  return new Map(
    EXPLAINED.flatMap(({ file, mutants, why }) =>
      mutants.map((mutant) => [`${file}: ${mutant}`, why] as const),
    ),
  );
}
