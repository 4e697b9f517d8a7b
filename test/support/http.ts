import { once } from "node:events";
import {
  createServer,
  request,
  type ClientRequest,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type ServerResponse,
} from "node:http";
import { connect, type AddressInfo, type Socket } from "node:net";

/** A real server on a free loopback port. */
export interface TestServer extends AsyncDisposable {
  readonly port: number;
  send(options?: Sent): Promise<Answer>;
  /** Sends head and body and leaves the rest to the test: to read bit by bit, to hang up. */
  open(options?: Sent): ClientRequest;
}

export interface Sent {
  readonly method?: string;
  readonly path?: string;
  /** Sent as the `Idempotency-Key` header. */
  readonly key?: string;
  readonly headers?: Record<string, string | string[]>;
  /** Strings and bytes are sent with a Content-Length, lists of chunks with chunked encoding. */
  readonly body?: string | Uint8Array | readonly (string | Uint8Array)[];
}

/** An answer as it came over the wire. */
export interface Answer {
  readonly status: number;
  readonly reason: string;
  readonly headers: IncomingHttpHeaders;
  readonly rawHeaders: readonly string[];
  readonly body: Buffer;
  readonly text: string;
  readonly trailers: NodeJS.Dict<string>;
  readonly rawTrailers: readonly string[];
  /** The 1xx responses before it. */
  readonly informational: readonly { readonly status: number; readonly link: unknown }[];
}

/** What it answers may be a promise; what that rejects with is for the test to see. */
export type Listener = (req: IncomingMessage, res: ServerResponse) => unknown;

export async function serve(listener: Listener): Promise<TestServer> {
  const server = createServer((req, res) => void listener(req, res));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return {
    port,
    send: (options) => send(port, options),
    open: (options) => open(port, options),
    async [Symbol.asyncDispose]() {
      const closed = once(server, "close");
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

export async function send(port: number, sent: Sent = {}): Promise<Answer> {
  const req = open(port, sent);
  const informational: { status: number; link: unknown }[] = [];
  req.on("information", ({ statusCode, headers }) =>
    informational.push({ status: statusCode, link: headers["link"] }),
  );
  const [res] = (await once(req, "response")) as [IncomingMessage];
  return { ...(await read(res)), informational };
}

/** The rest of an answer whose head has come; rejects where the connection is cut before its end. */
export async function read(res: IncomingMessage): Promise<Answer> {
  const body = await readBytes(res);
  return {
    status: res.statusCode ?? 0,
    reason: res.statusMessage ?? "",
    headers: res.headers,
    rawHeaders: res.rawHeaders,
    body,
    text: body.toString(),
    trailers: res.trailers,
    rawTrailers: res.rawTrailers,
    informational: [],
  };
}

export async function readBytes(stream: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const part of stream) parts.push(part);
  return Buffer.concat(parts);
}

export function open(port: number, sent: Sent = {}): ClientRequest {
  const { method = "POST", path = "/", key, body = "" } = sent;
  const chunks = typeof body === "string" || body instanceof Uint8Array ? [body] : body;
  const headers = {
    ...(key === undefined ? {} : { "Idempotency-Key": key }),
    ...(chunks.length === 1 ? { "Content-Length": Buffer.byteLength(chunks[0] ?? "") } : {}),
    ...sent.headers,
  };
  const req = request({ host: "127.0.0.1", port, method, path, headers, agent: false });
  // Whoever waits for the response is told; once it is there, its reader is.
  req.on("error", () => {});
  for (const chunk of chunks) req.write(chunk);
  req.end();
  return req;
}

/** A connection without a client library: packets as the test wants them. */
export interface Connection extends Disposable {
  readonly socket: Socket;
  write(text: string | Uint8Array): void;
  /** What has arrived, once it holds `text` this many times. */
  until(text: string, times?: number): Promise<string>;
  /** Everything that arrived, once the server has closed. */
  closed(): Promise<string>;
}

export async function dial(port: number): Promise<Connection> {
  const socket = connect(port, "127.0.0.1");
  let received = "";
  socket.setEncoding("latin1").on("data", (text: string) => {
    received += text;
  });
  // A reset is one way in which a server closes.
  socket.on("error", () => {});
  await once(socket, "connect");
  const closed = once(socket, "close");
  return {
    socket,
    write: (text) => {
      socket.write(text);
    },
    async until(text, times = 1) {
      while (received.split(text).length <= times) await once(socket, "data");
      return received;
    },
    async closed() {
      await closed;
      return received;
    },
    [Symbol.dispose]: () => {
      socket.destroy();
    },
  };
}
