/** Clients with everything that they do to a service: new payments, retries, duplicates, other payloads, hang-ups, nonsense. */
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { Agent, request, type IncomingMessage } from "node:http";
import { buffer } from "node:stream/consumers";
import { setTimeout as sleep } from "node:timers/promises";
import { between, oneOf, type Random } from "../faults/campaign/random.js";
import { LEASE_MS, MAX_BODY_BYTES, MAX_RESPONSE_BYTES } from "./limits.js";
import { PATHS, PLAN_HEADER, type RequestPlan } from "./requests.js";

/** As many clients at once; each pauses after an answer, so that a machine with other work keeps up. */
const CLIENTS = 24;
const LONGEST_PAUSE_MS = 200;

/** Keys that retries choose from: more than come in within a TTL, so that some have expired. */
const MOST_RECENT = 500;

/** Every limit of the service is far below this. */
const ANSWER_TIMEOUT_MS = 60_000;

/** What came of the requests: how many had which status, `replayed`, `hung up`, `cut`. */
export type Tally = Readonly<Record<string, number>>;

export interface Load {
  readonly requests: number;
  readonly tally: Tally;
  /** Answers that nobody should have got. */
  readonly wrong: readonly string[];
}

interface Asked {
  readonly plan: RequestPlan;
  readonly key: string;
  readonly body: string;
  readonly path: string;
  /** Milliseconds after which the client is gone. */
  readonly hangUpMs?: number;
}

type Outcome = { readonly status: number; readonly replayed: boolean } | "hung up" | "cut";

const PAY: RequestPlan = { end: "pay", workMs: 5, bytes: 200 };

export class Clients {
  readonly #port: number;
  readonly #random: Random;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: CLIENTS });
  readonly #recent: string[] = [];
  readonly #tally: Record<string, number> = {};
  readonly #wrong: string[] = [];
  #requests = 0;

  constructor(port: number, random: Random) {
    this.#port = port;
    this.#random = random;
  }

  /** Until the signal aborts; resolves when every request has its answer and every connection is closed. */
  async run(signal: AbortSignal): Promise<Load> {
    await Promise.all(Array.from({ length: CLIENTS }, () => this.#client(signal)));
    this.#agent.destroy();
    return { requests: this.#requests, tally: this.#tally, wrong: this.#wrong };
  }

  async #client(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const act = oneOf(this.#random, ACTS);
      await act(this);
      await sleep(between(this.#random, 0, LONGEST_PAUSE_MS));
    }
  }

  /** @param expected Statuses that are right. A store that fails makes it 503 at any time. */
  async ask(asked: Partial<Asked>, ...expected: number[]): Promise<void> {
    const { key = randomUUID(), plan = PAY, path = PATHS.reject } = asked;
    const outcome = await this.#exchange({ body: bodyOf(key), ...asked, key, plan, path });
    this.#count(outcome);
    if (outcome === "hung up") return;
    if (outcome === "cut") {
      // What has left cannot be taken back where it could not be stored.
      if (!isPassedThrough(plan)) this.#wrong.push(`${plan.end} of ${plan.bytes} bytes was cut`);
    } else if (outcome.status !== 503 && !expected.includes(outcome.status)) {
      this.#wrong.push(`${outcome.status} instead of ${expected.join(" or ")}`);
    } else if (outcome.status === 201 && plan.end === "pay" && isUsual(asked)) this.#remember(key);
  }

  recent(): string {
    return this.#recent.length === 0 ? randomUUID() : oneOf(this.#random, this.#recent);
  }

  upTo(most: number): number {
    return between(this.#random, 0, most);
  }

  #remember(key: string): void {
    this.#recent.push(key);
    if (this.#recent.length > MOST_RECENT) this.#recent.shift();
  }

  #count(outcome: Outcome): void {
    const names =
      typeof outcome === "string"
        ? [outcome]
        : [`${outcome.status}`, ...(outcome.replayed ? ["replayed"] : [])];
    for (const name of names) this.#tally[name] = (this.#tally[name] ?? 0) + 1;
  }

  async #exchange({ key, plan, body, path, hangUpMs }: Asked): Promise<Outcome> {
    this.#requests += 1;
    const req = request({
      host: "127.0.0.1",
      port: this.#port,
      path,
      method: "POST",
      agent: this.#agent,
      timeout: ANSWER_TIMEOUT_MS,
      headers: {
        "Content-Type": "application/json",
        "Content-Length": Buffer.byteLength(body),
        "Idempotency-Key": key,
        [PLAN_HEADER]: JSON.stringify(plan),
      },
    });
    // Whoever waits for the answer is told.
    req.on("error", () => {});
    req.on("timeout", () => req.destroy(new Error("There was no answer.")));
    // Some go before their body is whole.
    req.write(body.slice(0, hangUpMs === 0 ? 5 : undefined));
    if (hangUpMs !== 0) req.end();
    const gone = hangUpMs === undefined ? undefined : setTimeout(() => req.destroy(), hangUpMs);
    try {
      const [res] = (await once(req, "response")) as [IncomingMessage];
      await buffer(res);
      return {
        status: res.statusCode ?? 0,
        replayed: res.headers["idempotency-replayed"] === "true",
      };
    } catch {
      return hangUpMs === undefined ? "cut" : "hung up";
    } finally {
      clearTimeout(gone);
    }
  }
}

/** One body for each key, so that a retry is the same request. */
function bodyOf(key: string): string {
  return JSON.stringify({ payment: key });
}

/** Whether its answer leaves as it comes, and a tombstone is stored. */
function isPassedThrough({ end, bytes }: RequestPlan): boolean {
  return end === "events" || bytes > MAX_RESPONSE_BYTES;
}

/** A retry that asks for the usual is the same request. */
function isUsual({ body, path = PATHS.reject }: Partial<Asked>): boolean {
  return body === undefined && path === PATHS.reject;
}

type Act = (clients: Clients) => Promise<void>;

/** Each as often as the others that have its weight. */
const ACTS: readonly Act[] = [
  ...times(12, (clients) => clients.ask({ plan: { ...PAY, workMs: clients.upTo(20) } }, 201)),
  ...times(8, retry),
  ...times(2, otherPayload),
  ...times(2, (clients) => duplicates(clients, PATHS.reject)),
  ...times(2, (clients) => duplicates(clients, PATHS.wait)),
  ...times(2, (clients) => clients.ask({ plan: { ...PAY, end: "throw" } }, 500)),
  ...times(2, (clients) => clients.ask({ plan: { ...PAY, end: "refuse" } }, 429)),
  ...times(2, (clients) => clients.ask({ plan: { ...PAY, bytes: 150_000 } }, 201)),
  ...times(1, (clients) => clients.ask({ plan: { ...PAY, bytes: MAX_RESPONSE_BYTES * 1.5 } }, 201)),
  ...times(1, (clients) => clients.ask({ plan: { ...PAY, end: "stream" } }, 201)),
  ...times(1, (clients) => clients.ask({ plan: { ...PAY, end: "events" } }, 201)),
  ...times(1, (clients) => clients.ask({ plan: { ...PAY, workMs: LEASE_MS * 1.5 } }, 201)),
  ...times(3, (clients) => clients.ask({ hangUpMs: clients.upTo(20) }, 201)),
  ...times(1, (clients) => clients.ask({ hangUpMs: 0 }, 400)),
  ...times(1, (clients) => clients.ask({ key: "no key" }, 400)),
  ...times(1, (clients) => clients.ask({ body: "x".repeat(MAX_BODY_BYTES + 1) }, 413)),
];

/** Of a record that is there, expired or too large to be kept, or that somebody asked for with another payload. */
async function retry(clients: Clients): Promise<void> {
  await clients.ask({ key: clients.recent() }, 201, 409, 410, 422);
}

async function otherPayload(clients: Clients): Promise<void> {
  // Another each time, so that no two of these are the same request. Where the key's record has expired, it is a new one.
  const body = JSON.stringify({ payment: randomUUID() });
  await clients.ask({ key: clients.recent(), body }, 422, 201);
}

async function duplicates(clients: Clients, path: string): Promise<void> {
  const same = { key: randomUUID(), path, plan: { ...PAY, workMs: 60 } };
  await Promise.all([1, 2, 3].map(() => clients.ask(same, 201, 409)));
}

function times(weight: number, act: Act): Act[] {
  return Array.from({ length: weight }, () => act);
}
