/** Clients as real ones are: they time out, wait as they are told, and retry the same request elsewhere. */
import { once, setMaxListeners } from "node:events";
import { request as httpRequest, type IncomingMessage } from "node:http";
import { buffer } from "node:stream/consumers";
import { setTimeout as sleep } from "node:timers/promises";
import { storageKey } from "../../../src/key.js";
import type { RequestEntry, RequestOutcome } from "../history.js";
import type { Fleet } from "./fleet.js";
import { planStageFault, type FaultKind } from "./plan.js";
import { between, oneOf, type Random } from "./random.js";
import { hashOfAnswer, PLAN_HEADER, type RequestPlan } from "./request-plan.js";
import { now } from "./time.js";

/** A request as it was made, before it is known whether its server was disturbed. */
export interface Sent extends RequestEntry {
  readonly place: number;
  readonly settledAt: number;
  /** Until when the client waited; those that did not wait long enough prove nothing. */
  readonly patienceMs: number;
  readonly isPatient: boolean;
}

export interface ClientsOptions {
  readonly fleet: Fleet;
  readonly kinds: readonly FaultKind[];
  /** How many of the requests carry a fault. */
  readonly stageFaults: number;
  /** How many of the handlers need their lease renewed. */
  readonly longHandlers: number;
  readonly leaseMs: number;
  /** Where every request ends up. */
  readonly sent: Sent[];
}

export interface Client {
  readonly id: string;
  readonly key: string;
  /** Which payload it sends under its key. */
  readonly variant: string;
  readonly random: Random;
}

/** Beyond its handler's time: calls to a hung store, a wait for another's answer, and a machine that is busy. */
const PATIENCE_MS = 30_000;

/** Small answers mostly; some that the kit does not keep. */
const SMALL_BYTES = 200;
const LARGE_BYTES = 40_000;

/** Nobody gives a result any more; a retry would only be told the same. */
const SETTLED = new Set<RequestOutcome>(["executed", "replayed", "processed", "mismatch"]);

export function isSettled({ outcome }: RequestEntry): boolean {
  return SETTLED.has(outcome);
}

export class Clients {
  readonly #options: ClientsOptions;
  readonly #late = new AbortController();
  readonly #over = new AbortController();

  constructor(options: ClientsOptions) {
    this.#options = options;
    // Every client listens.
    setMaxListeners(0, this.#late.signal, this.#over.signal);
  }

  /** From now on nobody asks again who has an answer, and nobody's request is a fault. */
  windDown(): void {
    this.#late.abort();
  }

  /** Those that are still at it give up. */
  stop(): void {
    this.#over.abort();
  }

  /** Retries until there is an answer; some ask once more later, as after a crash of their own. */
  async run(client: Client): Promise<void> {
    const { random } = client;
    let asksAgain = random() < 0.4;
    for (let tries = 1; !this.#over.signal.aborted; tries += 1) {
      const { entry, retryAfterMs } = await this.#try(client, tries);
      if (!isSettled(entry)) {
        await pause(retryAfterMs ?? backoffMs(random, tries), this.#over.signal);
        continue;
      }
      if (!asksAgain) return;
      asksAgain = false;
      await pause(between(random, 200, 4_000), this.#late.signal);
      if (this.#late.signal.aborted) return;
    }
  }

  async #try(client: Client, tries: number): Promise<{ entry: Sent; retryAfterMs?: number }> {
    const { random } = client;
    const { fleet } = this.#options;
    const stageFaults = this.#late.signal.aborted ? 0 : this.#options.stageFaults;
    const plan = planRequest(client, tries, { ...this.#options, stageFaults });
    const place = between(random, 0, fleet.places - 1);
    const isPatient = random() < 0.4;
    const patienceMs = isPatient ? plan.workMs + PATIENCE_MS : between(random, 100, 2_500);
    return await this.send(client, plan, { place, patienceMs, isPatient });
  }

  async send(
    { key, variant }: Client,
    plan: RequestPlan,
    { place, patienceMs, isPatient }: Pick<Sent, "place" | "patienceMs" | "isPatient">,
  ): Promise<{ entry: Sent; retryAfterMs?: number }> {
    const { fleet, sent } = this.#options;
    const invokedAt = now();
    const port = fleet.port(place);
    const answer =
      port === undefined ? undefined : await answerOf(port, key, variant, plan, patienceMs);
    const settledAt = now();
    const entry: Sent = {
      id: plan.id,
      key: storageKey(key),
      fingerprint: variant,
      invokedAt,
      outcome: answer?.outcome ?? "unknown",
      ...(answer && { completedAt: settledAt }),
      ...(answer?.hash !== undefined && { answer: answer.hash }),
      place,
      settledAt,
      patienceMs,
      isPatient,
    };
    sent.push(entry);
    return { entry, ...(answer?.retryAfterMs && { retryAfterMs: answer.retryAfterMs }) };
  }
}

function planRequest({ id, random }: Client, tries: number, options: ClientsOptions): RequestPlan {
  const { leaseMs, longHandlers } = options;
  const [length, end, size] = [random(), random(), random()];
  return {
    id: `${id}.${tries}`,
    workMs:
      length < longHandlers ? between(random, leaseMs, leaseMs * 1.5) : between(random, 5, 300),
    end: end < 0.82 ? "pay" : end < 0.9 ? "decline" : end < 0.95 ? "refuse" : "throw",
    bytes: size < 0.05 ? LARGE_BYTES : SMALL_BYTES,
    fault: planStageFault(random, options),
  };
}

/** Ends early when the signal aborts. */
async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await sleep(ms, undefined, { signal }).catch(() => undefined);
}

/** Exponential, with jitter. */
function backoffMs(random: Random, tries: number): number {
  return Math.min(100 * 2 ** (tries - 1), 1_000) * (0.5 + random() / 2);
}

interface Judged {
  readonly outcome: RequestOutcome;
  readonly hash?: string;
  readonly retryAfterMs?: number;
}

/** Nothing where no whole answer came in time. */
async function answerOf(
  port: number,
  key: string,
  variant: string,
  plan: RequestPlan,
  patienceMs: number,
): Promise<Judged | undefined> {
  const req = httpRequest({
    host: "127.0.0.1",
    port,
    method: "POST",
    path: "/payments",
    // A connection of its own, and closed with it.
    agent: false,
    headers: {
      "Content-Type": "application/json",
      "Idempotency-Key": key,
      [PLAN_HEADER]: JSON.stringify(plan),
    },
  });
  const timer = setTimeout(() => req.destroy(new Error("Out of patience.")), patienceMs);
  try {
    req.end(JSON.stringify({ variant }));
    const [res] = (await once(req, "response")) as [IncomingMessage];
    return judge(res, await buffer(res));
  } catch {
    return undefined;
  } finally {
    clearTimeout(timer);
    req.on("error", () => undefined);
    req.destroy();
  }
}

function judge(res: IncomingMessage, body: Buffer): Judged {
  const { statusCode = 0, headers, rawHeaders } = res;
  const retryAfter = headers["retry-after"];
  const retryAfterMs = retryAfter === undefined ? undefined : Number(retryAfter) * 1_000;
  const again = retryAfterMs === undefined ? {} : { retryAfterMs };
  if (headers["content-type"]?.startsWith("application/problem+json") === true) {
    const { code } = JSON.parse(body.toString()) as { code: string };
    return { outcome: OUTCOMES[code] ?? "refused", ...again };
  }
  const fields = rawHeaders.flatMap((name, at) =>
    at % 2 === 0 ? [[name, rawHeaders[at + 1] ?? ""] as const] : [],
  );
  const hash = hashOfAnswer(statusCode, fields, body);
  if (headers["idempotency-replayed"] === "true") return { outcome: "replayed", hash };
  // 429 is no result: the handler's own "not now".
  return { outcome: statusCode === 429 ? "released" : "executed", hash };
}

const OUTCOMES: Readonly<Record<string, RequestOutcome>> = {
  REQUEST_IN_PROGRESS: "conflict",
  KEY_REUSED: "mismatch",
  RESPONSE_NOT_KEPT: "processed",
  HANDLER_FAILED: "failed",
  LEASE_LOST: "unavailable",
  LOCK_FAILED: "unavailable",
  STORE_UNAVAILABLE: "unavailable",
  DRAINING: "unavailable",
};

/** The clients of one key: most often alone, sometimes several at once, rarely with another payload. */
export function clientsOf(
  key: string,
  id: string,
  startMs: number,
  random: Random,
  streams: (client: number) => Random,
): { readonly client: Client; readonly startMs: number }[] {
  const count = oneOf(random, [1, 1, 2, 3]);
  return Array.from({ length: count }, (_, at) => {
    const client: Client = {
      id: `${id}${at === 0 ? "" : `-${at}`}`,
      key,
      variant: at > 0 && random() < 0.1 ? "other" : "same",
      random: streams(at),
    };
    const laterMs = at === 0 || random() < 0.5 ? 0 : between(random, 0, 1_500);
    return { client, startMs: startMs + laterMs };
  });
}
