/** One client's connection through the fault proxy: two lanes of bytes, each of which can be held or lose them. */
import { connect, type Socket } from "node:net";
import { Lane, type Fate } from "./fault-lane.js";
import { commandName, isPush, RespReader } from "./resp.js";

export type Match = (bytes: Buffer) => boolean;

/** What the proxy does to every link now; the links only read it. */
export interface Faults {
  requests: Fate;
  replies: Fate;
  /** Which requests `hold` is about; whatever comes after them on the same connection waits, too. */
  holds: Match;
  requestDelayMs: number;
  replyDelayMs: number;
  cut: { readonly matches: Match; readonly done: () => void } | undefined;
}

export interface Traffic {
  /** Commands seen from clients, by name; without those that set a connection up. */
  requests: Record<string, number>;
  /** Commands that the server has answered, whether or not the client heard it. */
  replies: Record<string, number>;
  /** Times that a client began to wait: a pipeline is one. */
  roundTrips: number;
}

/** Sent by clients on their own account: to set up a connection, to learn the topology, to check what it is. */
const SETUP = new Set([
  "HELLO",
  "AUTH",
  "SELECT",
  "CLIENT",
  "INFO",
  "CLUSTER",
  "READONLY",
  "CONFIG",
]);

export class FaultLink {
  readonly #client: Socket;
  readonly #server: Socket;
  readonly #faults: Faults;
  readonly #traffic: Traffic;
  readonly #changed: () => void;
  readonly #requests: Lane;
  readonly #replies: Lane;
  /** Both undefined for what is not RESP: then a chunk is a request, and whatever comes back answers all of them. */
  #requestReader: RespReader | undefined;
  #replyReader: RespReader | undefined;
  #started = false;
  /** Names of what the server has yet to answer, oldest first. */
  readonly #awaited: string[] = [];
  #written = 0;
  #answered = 0;
  #requestSoFar: Buffer = Buffer.alloc(0);
  #cut: { readonly after: number; readonly done: () => void } | undefined;

  constructor(
    client: Socket,
    targetPort: number,
    faults: Faults,
    traffic: Traffic,
    changed: () => void,
  ) {
    this.#client = client;
    this.#faults = faults;
    this.#traffic = traffic;
    this.#changed = changed;
    this.#server = connect({
      port: targetPort,
      host: "127.0.0.1",
      allowHalfOpen: true,
      noDelay: true,
    });
    this.#requests = new Lane(
      (bytes) => (faults.requests === "hold" && !faults.holds(bytes) ? "pass" : faults.requests),
      (bytes) => this.#toServer(bytes),
      () => this.#server.end(),
    );
    this.#replies = new Lane(
      () => faults.replies,
      (bytes) => this.#toClient(bytes),
      () => this.#client.end(),
    );
    this.#listen();
  }

  /** The client's end is open. */
  get connected(): boolean {
    return !this.#client.destroyed && !this.#client.readableEnded;
  }

  get held(): number {
    return this.#requests.waiting;
  }

  /** The server has answered, or never will, everything that the client sent. */
  get idle(): boolean {
    return this.#server.destroyed || (this.#requests.waiting === 0 && this.#awaited.length === 0);
  }

  get lossy(): boolean {
    return this.#requests.lost || this.#replies.lost;
  }

  get closed(): boolean {
    return this.#client.destroyed && this.#server.destroyed;
  }

  pump(): void {
    this.#requests.pump();
    this.#replies.pump();
  }

  /** RST on both ends. */
  reset(): void {
    this.#requests.close();
    this.#replies.close();
    reset(this.#client);
    reset(this.#server);
  }

  #listen(): void {
    this.#client.on("data", (chunk: Buffer) => this.#fromClient(chunk));
    this.#server.on("data", (chunk: Buffer) => this.#fromServer(chunk));
    // What a client sent before it went still arrives, perhaps much later; it need not stay for that.
    this.#client.on("end", () => {
      if (this.#requests.waiting > 0) this.#client.end();
      this.#requests.finish();
    });
    this.#client.on("error", () => this.#requests.finish());
    this.#server.on("end", () => this.#replies.finish());
    this.#server.on("error", () => reset(this.#client));
    for (const socket of [this.#client, this.#server]) socket.on("close", this.#changed);
  }

  #fromClient(chunk: Buffer): void {
    if (!this.#started && chunk[0] === "*".charCodeAt(0)) {
      this.#requestReader = new RespReader();
      this.#replyReader = new RespReader();
    }
    this.#started = true;
    const reader = this.#requestReader;
    for (const bytes of reader === undefined ? [chunk] : reader.push(chunk)) {
      this.#count(reader === undefined ? httpName(bytes) : commandName(bytes));
      this.#requests.push(bytes, this.#faults.requestDelayMs);
    }
    this.#changed();
  }

  #count(name: string): void {
    if (isCounted(name)) {
      if (!this.#awaited.some(isCounted)) this.#traffic.roundTrips += 1;
      this.#traffic.requests[name] = (this.#traffic.requests[name] ?? 0) + 1;
    }
    this.#awaited.push(name);
  }

  #toServer(bytes: Buffer): void {
    // The client is about to find its connection cut: no command that follows gets through; but a body does.
    if (this.#cut !== undefined && this.#requestReader !== undefined) return;
    this.#server.write(bytes);
    this.#written += 1;
    this.#requestSoFar =
      this.#requestReader === undefined ? Buffer.concat([this.#requestSoFar, bytes]) : bytes;
    const cut = this.#faults.cut;
    if (cut?.matches(this.#requestSoFar) !== true) return;
    this.#faults.cut = undefined;
    this.#cut = { after: this.#written, done: cut.done };
  }

  #fromServer(chunk: Buffer): void {
    const answers =
      this.#replyReader === undefined
        ? this.#awaited.length
        : this.#replyReader.push(chunk).filter((value) => !isPush(value)).length;
    for (const name of this.#awaited.splice(0, answers)) {
      if (isCounted(name)) this.#traffic.replies[name] = (this.#traffic.replies[name] ?? 0) + 1;
    }
    this.#answered += answers;
    this.#requestSoFar = Buffer.alloc(0);
    if (this.#cut === undefined) this.#replies.push(chunk, this.#faults.replyDelayMs);
    else if (this.#answered >= this.#cut.after) this.#cutNow(this.#cut.done);
    this.#changed();
  }

  #cutNow(done: () => void): void {
    this.reset();
    done();
  }

  #toClient(bytes: Buffer): void {
    if (this.#client.writable) this.#client.write(bytes);
  }
}

function isCounted(name: string): boolean {
  return name !== "" && !SETUP.has(name);
}

/** The operation of a DynamoDB request, else the method; nothing for the rest of a body. */
function httpName(chunk: Buffer): string {
  const head = chunk.subarray(0, 2_048).toString("latin1");
  const method = /^([A-Z]+) \S+ HTTP\/1\.1\r\n/.exec(head)?.[1];
  if (method === undefined) return "";
  return /\r\nx-amz-target: *\w+\.(\w+)/i.exec(head)?.[1] ?? method;
}

/**
 * RST. A socket whose FIN is on its way cannot be reset any more: libuv refuses, Node takes it for closing all the same,
 * and the process never ends, waiting for that.
 */
function reset(socket: Socket): void {
  if (socket.writableEnded && !socket.writableFinished) socket.destroy();
  else socket.resetAndDestroy();
}
