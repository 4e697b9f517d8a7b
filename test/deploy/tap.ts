/** On the way to DynamoDB: hears what is asked for, and loses connections as networks do while a process is frozen. */
import { once } from "node:events";
import { createServer, request, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { buffer } from "node:stream/consumers";

export interface Call {
  readonly operation: string;
  /** Of the item. */
  readonly id: string;
}

export interface Tap {
  readonly url: string;
  readonly calls: Call[];
  /** All connections are reset. */
  reset(): void;
  /** Nothing that is sent on a connection of now arrives, and nobody is told. */
  lose(): void;
  close(): void;
}

export async function tapOn(port: number): Promise<Tap> {
  const [calls, open, lost] = [[] as Call[], new Set<Socket>(), new WeakSet<Socket>()];
  const forward = async (req: IncomingMessage, res: ServerResponse): Promise<void> => {
    const body = await buffer(req);
    if (lost.has(req.socket)) return;
    calls.push(callOf(req, body));
    const { method, headers } = req;
    request({ port, method, headers })
      .once("response", (reply) => {
        res.writeHead(reply.statusCode ?? 0, reply.headers);
        reply.pipe(res);
      })
      .once("error", () => res.destroy())
      .end(body);
  };
  // A client that gives up half-way is none of its concerns.
  const server = createServer((req, res) => void forward(req, res).catch(() => res.destroy()));
  server.keepAliveTimeout = 0;
  server.on("connection", (socket) => {
    open.add(socket);
    socket.once("close", () => open.delete(socket));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    calls,
    reset: () => open.forEach((socket) => socket.resetAndDestroy()),
    lose: () => open.forEach((socket) => lost.add(socket)),
    close: () => {
      server.close();
      server.closeAllConnections();
    },
  };
}

function callOf({ headers }: IncomingMessage, body: Buffer): Call {
  const { Key, Item } = JSON.parse(body.toString()) as Record<string, { id: { S: string } }>;
  const [, operation = ""] = String(headers["x-amz-target"]).split(".");
  return { operation, id: (Key ?? Item)?.id.S ?? "" };
}
