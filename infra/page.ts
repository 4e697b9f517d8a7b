/** The page of the demo: a file, the kit's activity as server-sent events, and the records behind it. */
import { readFileSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { CachedResponse, Store } from "../src/index.js";
import { watchActivity } from "./page/activity.js";

type Handler = (req: IncomingMessage, res: ServerResponse) => void;

/** Keeps proxies from ending a connection on which nothing happens. */
const PING_MS = 15_000;

/** How soon the page looks for the next server when one was killed. */
const RECONNECT_MS = 250;

/** From `dist/infra` as well as from `infra`. */
const PAGE = ["page/index.html", "../../infra/page/index.html"]
  .map((path) => new URL(path, import.meta.url))
  .map(read)
  .find((page) => page !== undefined);

export interface PageSettings {
  readonly store: Store;
  readonly leaseMs: number;
  /** What the page says of where responses are kept. */
  readonly storeName: string;
}

export interface DemoPage {
  /** Serves the page, and leaves every other path to `next`. */
  readonly service: Handler;
  /** Ends the streams of those who watch: an open one would hold a shutdown up. */
  close(): void;
}

export function demoPage(settings: PageSettings, next: Handler): DemoPage {
  const watchers = new Set<ServerResponse>();
  const routes: Readonly<Record<string, Handler>> = {
    "GET /": (_, res) => sendPage(res),
    "GET /activity": (_, res) => watch(res, settings, watchers),
    // As an operator or the kernel would, half-way through whatever runs.
    "POST /crash": () => process.kill(process.pid, "SIGKILL"),
  };
  return {
    service(req, res) {
      const [path = ""] = (req.url ?? "").split("?");
      const route = routes[`${req.method} ${path}`];
      if (route !== undefined && isOwnPage(req)) route(req, res);
      else if (path.startsWith("/records/")) void showRecord(settings.store, path, res);
      else next(req, res);
    },
    close() {
      for (const res of watchers) res.end();
    },
  };
}

/** Another site must not crash the demo of whoever visits it, or watch it. */
function isOwnPage(req: IncomingMessage): boolean {
  const site = req.headers["sec-fetch-site"];
  return site === undefined || site === "same-origin" || site === "none";
}

function sendPage(res: ServerResponse): void {
  res.writeHead(200, {
    "Content-Type": "text/html; charset=utf-8",
    "Cache-Control": "no-store",
    "Content-Security-Policy":
      "default-src 'none'; connect-src 'self'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'",
  });
  res.end(PAGE);
}

function watch(res: ServerResponse, settings: PageSettings, watchers: Set<ServerResponse>): void {
  res.writeHead(200, { "Content-Type": "text/event-stream", "Cache-Control": "no-store" });
  const { storeName, leaseMs } = settings;
  // Browsers wait for some three seconds otherwise, in which the retry after a kill is over already.
  res.write(`retry: ${RECONNECT_MS}\n\n`);
  send(res, { type: "hello", storeName, leaseMs, pid: process.pid });
  const stop = watchActivity((activity) => send(res, { ...activity, at: Date.now() }));
  const ping = setInterval(() => res.write(":\n\n"), PING_MS).unref();
  watchers.add(res);
  res.once("close", () => {
    stop();
    clearInterval(ping);
    watchers.delete(res);
  });
}

function send(res: ServerResponse, message: object): void {
  res.write(`data: ${JSON.stringify(message)}\n\n`);
}

/** What a store keeps under a hashed key, or null. For a demo: elsewhere this is for operators only. */
async function showRecord(store: Store, path: string, res: ServerResponse): Promise<void> {
  const key = decodeURIComponent(path.slice("/records/".length));
  const [status, body] = await store.get(key).then(
    (response) => [200, response === undefined ? null : asJson(response)] as const,
    (error: unknown) => [503, { detail: String(error) }] as const,
  );
  res.writeHead(status, { "Content-Type": "application/json" });
  res.end(JSON.stringify(body));
}

function asJson(response: CachedResponse): object {
  return { ...response, body: Buffer.from(response.body).toString() };
}

function read(file: URL): string | undefined {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return undefined;
  }
}
