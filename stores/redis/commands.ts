/** How commands get to a server: alone, wherever ioredis sends them, or one behind the other on one connection. */
import type { Cluster, Redis } from "ioredis";

export type Argument = string | number | Buffer;
type Verb = "get" | "set" | "del" | "evalsha" | "eval" | "wait" | "ping";
export type Command = readonly [verb: Verb, ...args: Argument[]];

/** ioredis' own method per command: `call` loses the command's name where auto-pipelining is on. */
type Commander = Record<`${Verb}Buffer`, (...args: readonly Argument[]) => Promise<unknown>>;

/** What those methods make of their arguments. */
interface Built {
  /** Of its key. */
  getSlot(): number | null;
}

/** The part of ioredis below its methods, the same in versions 5 and 6. */
interface Sender {
  sendCommand(command: Built, stream?: undefined, destination?: Destination): unknown;
}

/** Where a Cluster is to send a command; it notes here which connection it took, and takes that for those that follow. */
interface Destination {
  readonly slot: number | null;
  readonly redis?: Redis;
}

export function sendAlone(client: Redis | Cluster, command: Command): Promise<unknown> {
  if (!("nodes" in client)) {
    gather(client);
    return send(client, command);
  }
  // ioredis 5 groups scripts by the slot of their hash, so that auto-pipelining mixes the nodes of a Cluster.
  const isMixing = client.options.enableAutoPipelining === true;
  return send(isMixing ? sendingBy(client, (built) => [built]) : client, command);
}

/** As `sendAlone`, but at once: nothing that happens to the connection in this turn keeps it from leaving. */
export function sendNow(client: Redis | Cluster, command: Command): Promise<unknown> {
  const reply = sendAlone(client, command);
  if (!("nodes" in client)) client.stream?.uncork();
  return reply;
}

/** More is worth a write of its own, and what waits long in a busy process would run into its time-out. */
const GATHERED_BYTES = 4 * 1_024;

/**
 * Holds the connection's writes back until this turn of the event loop is over: requests that arrived together then cost
 * one write, and the server answers them in one. A single request loses nothing, for the turn has nothing else to do.
 */
function gather({ status, stream }: Redis): void {
  // Stand-ins for a client, as tests use them, have no stream.
  if (status !== "ready" || stream === undefined) return;
  const isGathering = stream.writableCorked > 0;
  if (isGathering && stream.writableLength < GATHERED_BYTES) return;
  stream.uncork();
  stream.cork();
  if (!isGathering) setImmediate(() => stream.uncork());
}

/**
 * Sends all commands over one connection at once: that of the first one's key. A Cluster does not follow `MOVED` for them.
 *
 * Not by a pipeline: for one that a Cluster refuses at one node, ioredis 6 looks for a node again with each command. One
 * that is accepted then waits for a reply to bytes that were never sent, and takes the next command's: from there on each reply on
 * that connection, to whatever key, is given to the command before.
 */
export async function sendTogether(
  client: Redis | Cluster,
  commands: readonly Command[],
): Promise<unknown[]> {
  let destination: Destination | undefined;
  const connection = sendingBy(client, (built) => {
    if (!client.isCluster) return [built];
    destination ??= { slot: built.getSlot() };
    return [built, undefined, destination];
  });
  return await Promise.all(commands.map((command) => send(connection, command)));
}

/** The client, but for how its methods send: at once, without auto-pipelining, which leaves pipelines alone. */
function sendingBy(
  client: Redis | Cluster,
  route: (built: Built) => Parameters<Sender["sendCommand"]>,
): unknown {
  const sender = client as Sender;
  return Object.create(client, {
    isPipeline: { value: true },
    sendCommand: { value: (built: Built) => sender.sendCommand(...route(built)) },
  });
}

function send(to: unknown, [verb, ...args]: Command): Promise<unknown> {
  return (to as Commander)[`${verb}Buffer`](...args);
}
