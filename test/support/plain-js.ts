/** Methods of a response, called as plain JavaScript may call them. */
import type { ServerResponse } from "node:http";

export function writeHead(res: ServerResponse, ...args: readonly unknown[]): ServerResponse {
  return call(res, "writeHead", ...args) as ServerResponse;
}

export function call(
  res: ServerResponse,
  method: keyof ServerResponse,
  ...args: readonly unknown[]
) {
  return Reflect.apply(res[method] as (...all: unknown[]) => unknown, res, args);
}
