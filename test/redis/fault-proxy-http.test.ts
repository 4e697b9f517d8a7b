/** The fault proxy before what is not Redis: DynamoDB, or any HTTP server. */
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { startProxy } from "../support/fault-proxy.js";

test("counted by DynamoDB operation, and cut after the server has acted", async () => {
  const bodies: string[] = [];
  const server = createServer((request, response) => {
    request.setEncoding("utf8").on("data", (chunk: string) => bodies.push(chunk));
    request.on("end", () => response.end("done"));
  }).listen(0, "127.0.0.1");
  onTestFinished(() => void server.close());
  await once(server, "listening");
  const proxy = await startProxy((server.address() as AddressInfo).port);
  onTestFinished(() => proxy.close());
  const put = async (body: string): Promise<string> => {
    const headers = { "X-Amz-Target": "DynamoDB_20120810.PutItem" };
    const response = await fetch(`http://127.0.0.1:${proxy.port}/`, {
      method: "POST",
      headers,
      body,
    });
    return response.text();
  };

  expect(await put("one")).toBe("done");
  const cut = proxy.cutAfterRequest((bytes) => bytes.includes("two"));
  await expect(put("two")).rejects.toThrow("fetch failed");
  await cut;

  expect(bodies).toEqual(["one", "two"]);
  expect(proxy.traffic.requests).toEqual({ PutItem: 2 });

  // A body that comes after the header that matched is still part of the request.
  const large = "x".repeat(300_000);
  const cutByHeader = proxy.cutAfterRequest((bytes) => bytes.includes("PutItem"));
  await expect(put(large)).rejects.toThrow("fetch failed");
  await cutByHeader;

  expect(bodies.slice(2).join("")).toBe(large);
});
