/** What the door reads of a request before its body. */
import type { IncomingMessage, ServerResponse } from "node:http";

/**
 * The lines of one header field. `headers` joins repeated ones, and two keys would look like one; `headersDistinct` makes
 * a list for each field of the request.
 *
 * @param name In lower case.
 */
export function linesOf(name: string, { rawHeaders }: IncomingMessage): string[] {
  const lines: string[] = [];
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const found = rawHeaders[at] ?? "";
    if (found.length === name.length && found.toLowerCase() === name) {
      lines.push(rawHeaders[at + 1] ?? "");
    }
  }
  return lines;
}

/** Aborts when the client hangs up. */
export function clientOf(res: ServerResponse): AbortSignal {
  if (res.destroyed) return AbortSignal.abort();
  const controller = new AbortController();
  res.once("close", () => controller.abort());
  return controller.signal;
}

/** The URL as the client sent it: routers shorten `url` for what they mount. */
export function originalUrl(req: IncomingMessage & { originalUrl?: unknown }): string {
  return typeof req.originalUrl === "string" ? req.originalUrl : (req.url ?? "");
}
