import { once } from "node:events";
import { createServer, request, type IncomingHttpHeaders, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";

/** A real server on a free loopback port. */
export interface TestServer extends AsyncDisposable {
  readonly port: number;
  send(options?: Sent): Promise<Answer>;
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
}

export async function serve(listener: RequestListener): Promise<TestServer> {
  const server = createServer(listener);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return {
    port,
    send: (options) => send(port, options),
    async [Symbol.asyncDispose]() {
      const closed = once(server, "close");
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

export async function send(port: number, sent: Sent = {}): Promise<Answer> {
  const { method = "POST", path = "/", key, body = "" } = sent;
  const chunks = typeof body === "string" || body instanceof Uint8Array ? [body] : body;
  const headers = {
    ...(key === undefined ? {} : { "Idempotency-Key": key }),
    ...(chunks.length === 1 ? { "Content-Length": Buffer.byteLength(chunks[0] ?? "") } : {}),
    ...sent.headers,
  };
  const req = request({ host: "127.0.0.1", port, method, path, headers, agent: false });
  for (const chunk of chunks) req.write(chunk);
  req.end();
  const [res] = await once(req, "response");
  const parts: Buffer[] = [];
  for await (const part of res) parts.push(part);
  const bytes = Buffer.concat(parts);
  return {
    status: res.statusCode,
    reason: res.statusMessage,
    headers: res.headers,
    rawHeaders: res.rawHeaders,
    body: bytes,
    text: bytes.toString(),
    trailers: res.trailers,
  };
}
