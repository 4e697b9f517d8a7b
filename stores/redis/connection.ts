/** What becomes of a client's connections, watched once per client, however many stores share it. */
import type { Cluster, Redis } from "ioredis";

export interface ConnectionListener {
  /** A connection is gone: whatever answers on the next one may have forgotten. */
  readonly onLost: (node: Redis) => void;
  /** A connection takes commands, or a node may have another role. */
  readonly onReady: () => void;
}

interface Watched {
  /** Why the connection is down, in words that hold no credential; `undefined` once it is up. */
  failure: string | undefined;
  readonly listeners: Set<ConnectionListener>;
}

const clients = new WeakMap<Redis | Cluster, Watched>();

/** Without a listener ioredis prints every failed attempt to reconnect, so that each client is watched from its start. */
export function watchConnection(client: Redis | Cluster, listener?: ConnectionListener): void {
  const watched = clients.get(client) ?? startWatching(client);
  if (listener !== undefined) watched.listeners.add(listener);
}

/** Why a client is not connected: commands themselves only say that the stream is not writeable. */
export function connectionFailure(client: Redis | Cluster): string | undefined {
  return clients.get(client)?.failure;
}

/** Of a client that disconnects by itself because of a reply: what fails until it is connected again fails for that. */
export function noteFailure(client: Redis | Cluster, failure: string): void {
  const watched = clients.get(client);
  if (watched !== undefined) watched.failure = failure;
}

function startWatching(client: Redis | Cluster): Watched {
  const watched: Watched = { failure: undefined, listeners: new Set() };
  clients.set(client, watched);
  const fail = (error: unknown): void => {
    watched.failure = messageOf(error);
  };
  const succeed = (): void => {
    watched.failure = undefined;
    for (const { onReady } of watched.listeners) onReady();
  };
  const watchNode = (node: Redis): void => {
    node.on("close", () => {
      for (const { onLost } of watched.listeners) onLost(node);
    });
  };
  client.on("error", fail).on("ready", succeed);
  if (!("nodes" in client)) {
    watchNode(client);
    return watched;
  }
  // The nodes of a Cluster fail by an event of their own, and change their roles with each refresh.
  client.on("node error", fail).on("refresh", succeed);
  const watchMember = (node: Redis): void => {
    watchNode(node);
    node.on("ready", () => {
      for (const { onReady } of watched.listeners) onReady();
    });
  };
  for (const node of client.nodes()) watchMember(node);
  client.on("+node", watchMember);
  return watched;
}

/** The words of an error alone: ioredis hangs the command on it, body, key and password and all. */
export function messageOf(error: unknown): string {
  const { message, code } = error as { readonly message?: string; readonly code?: string };
  // Where a host has several addresses, Node's error has no message of its own.
  const text = message || code || String(error);
  // "ERR unknown command" cites the arguments.
  return text.replace(/,? with args beginning with:.*$/s, "").replace(/\.$/, "");
}
