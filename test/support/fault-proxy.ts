/**
 * A TCP proxy that does to a connection what networks do: slow it, lose either half of an exchange, deliver late,
 * refuse, hang, cut. It follows RESP where a client speaks that, so that faults and counts are per command, and
 * passes everything else (HTTP) as it comes.
 */
import { once } from "node:events";
import { createServer, type Server, type Socket } from "node:net";
import { freePort } from "../../infra/services/ports.js";
import { FaultLink, type Faults, type Match, type Traffic } from "./fault-link.js";

export type { Match, Traffic } from "./fault-link.js";

export interface FaultProxy {
  readonly port: number;
  /** Open connections of clients. */
  readonly connections: number;
  /** Requests that wait in the proxy, held or delayed. */
  readonly held: number;
  /** Counted since the start or the last `resetTraffic()`. */
  readonly traffic: Readonly<Traffic>;
  resetTraffic(): void;
  /** Resolves as soon as `reached` is true; it is asked whenever anything has happened. */
  until(reached: () => boolean): Promise<void>;

  /** Every request and every reply arrives this much later. */
  delay(requestMs: number, replyMs?: number): void;
  /** The server never hears them. */
  dropRequests(): void;
  /** The server executes, the client never hears. */
  dropReplies(): void;
  /**
   * Once: the first request that matches is executed, and then, instead of its reply, the client gets a reset.
   * Resolves at the cut. RESP: `matches` sees one whole command; else all bytes since the last reply.
   */
  cutAfterRequest(matches: Match): Promise<void>;
  /** Keeps requests, from the first that matches on each connection, even when the client has gone. */
  hold(matches?: Match): void;
  /** Delivers what was held, late as it is; resolves when the server has answered all of it. */
  release(): Promise<void>;
  /** Nobody listens: open connections are reset, new ones refused. */
  refuse(): Promise<void>;
  /** Connections are taken and nothing moves, as with a stopped server: the requests arrive at `heal()`. */
  hang(): void;
  /** RST to everybody connected now. */
  reset(): void;
  /** Ends every fault. Connections that have lost bytes are reset: TCP would not have gone on with a gap. */
  heal(): Promise<void>;
  close(): Promise<void>;
}

export async function startProxy(targetPort: number): Promise<FaultProxy> {
  const proxy = new Proxy(targetPort, await freePort());
  await proxy.listen();
  return proxy;
}

interface Waiter {
  readonly reached: () => boolean;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

const noFaults = (): Faults => ({
  requests: "pass",
  replies: "pass",
  holds: () => true,
  requestDelayMs: 0,
  replyDelayMs: 0,
  cut: undefined,
});

const noTraffic = (): Traffic => ({ requests: {}, replies: {}, roundTrips: 0 });

class Proxy implements FaultProxy {
  readonly port: number;
  readonly traffic = noTraffic();
  readonly #targetPort: number;
  readonly #faults = noFaults();
  readonly #links = new Set<FaultLink>();
  readonly #waiters = new Set<Waiter>();
  readonly #server: Server;

  constructor(targetPort: number, port: number) {
    this.#targetPort = targetPort;
    this.port = port;
    this.#server = createServer({ allowHalfOpen: true, noDelay: true }, (client) =>
      this.#link(client),
    );
  }

  get connections(): number {
    return [...this.#links].filter((link) => link.connected).length;
  }

  get held(): number {
    return [...this.#links].reduce((sum, link) => sum + link.held, 0);
  }

  async listen(): Promise<void> {
    this.#server.listen({ port: this.port, host: "127.0.0.1" });
    await once(this.#server, "listening");
  }

  resetTraffic(): void {
    Object.assign(this.traffic, noTraffic());
  }

  until(reached: () => boolean): Promise<void> {
    if (reached()) return Promise.resolve();
    return new Promise((resolve, reject) => {
      this.#waiters.add({ reached, resolve, reject });
    });
  }

  delay(requestMs: number, replyMs = requestMs): void {
    Object.assign(this.#faults, { requestDelayMs: requestMs, replyDelayMs: replyMs });
  }

  dropRequests(): void {
    this.#faults.requests = "drop";
  }

  dropReplies(): void {
    this.#faults.replies = "drop";
  }

  cutAfterRequest(matches: Match): Promise<void> {
    return new Promise((resolve) => {
      this.#faults.cut = { matches, done: resolve };
    });
  }

  hold(matches: Match = () => true): void {
    Object.assign(this.#faults, { requests: "hold", holds: matches });
  }

  async release(): Promise<void> {
    const late = [...this.#links].filter((link) => link.held > 0);
    this.#faults.requests = "pass";
    for (const link of late) link.pump();
    await this.until(() => late.every((link) => link.idle));
  }

  async refuse(): Promise<void> {
    if (!this.#server.listening) return;
    this.#server.close();
    this.reset();
    await once(this.#server, "close");
  }

  hang(): void {
    Object.assign(this.#faults, { requests: "hold", holds: () => true, replies: "hold" });
  }

  reset(): void {
    for (const link of this.#links) link.reset();
  }

  async heal(): Promise<void> {
    Object.assign(this.#faults, noFaults());
    for (const link of this.#links) {
      if (link.lossy) link.reset();
      else link.pump();
    }
    if (!this.#server.listening) await this.listen();
  }

  async close(): Promise<void> {
    for (const { reject } of this.#waiters) reject(new Error("The fault proxy was closed."));
    this.#waiters.clear();
    await this.refuse();
  }

  #link(client: Socket): void {
    const link = new FaultLink(client, this.#targetPort, this.#faults, this.traffic, () => {
      if (link.closed) this.#links.delete(link);
      this.#changed();
    });
    this.#links.add(link);
    this.#changed();
  }

  #changed(): void {
    for (const waiter of this.#waiters) {
      if (!waiter.reached()) continue;
      this.#waiters.delete(waiter);
      waiter.resolve();
    }
  }
}
