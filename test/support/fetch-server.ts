/** A real server for handlers of the Fetch standard: as little between Node and them as there can be. */
import type { IncomingMessage, ServerResponse } from "node:http";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { serve, type TestServer } from "./http.js";

export function serveFetch(
  handler: (request: Request) => Response | Promise<Response>,
): Promise<TestServer> {
  return serve(async (req, res) => {
    try {
      await respond(res, await handler(requestOf(req)));
    } catch {
      if (!res.headersSent) res.writeHead(500);
      res.end();
    }
  });
}

function requestOf(req: IncomingMessage): Request {
  const headers = new Headers();
  for (const [name, values = []] of Object.entries(req.headersDistinct)) {
    for (const value of values) headers.append(name, value);
  }
  const { method = "GET", url = "/" } = req;
  const bodiless = method === "GET" || method === "HEAD";
  const body = bodiless ? null : (Readable.toWeb(req) as unknown as ReadableStream<Uint8Array>);
  const init = { method, headers, body, duplex: "half" } as RequestInit;
  return new Request(new URL(url, "http://server.example"), init);
}

async function respond(res: ServerResponse, response: Response): Promise<void> {
  res.statusCode = response.status;
  if (response.statusText !== "") res.statusMessage = response.statusText;
  res.setHeaders(response.headers);
  if (response.body === null) {
    res.end();
    return;
  }
  // A client that hangs up cancels the body.
  await pipeline(Readable.fromWeb(response.body), res).catch(() => undefined);
}
