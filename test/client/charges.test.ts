/** The client and the middleware together, and a network between them that loses things: one charge, whatever happens. */
import { describe, expect, it, onTestFinished } from "vitest";
import { retryingFetch, type ClientOptions } from "../../src/client.js";
import { idempotency, type Store } from "../../src/index.js";
import type { Given } from "../../src/options.js";
import { memoryStore } from "../../stores/memory.js";
import { deferred } from "../support/deferred.js";
import { startProxy, type FaultProxy } from "../support/fault-proxy.js";
import { serve } from "../support/http.js";

const QUICK: Given<ClientOptions> = { firstPauseMs: 1, maxPauseMs: 20 };

interface Shop {
  readonly url: string;
  readonly proxy: FaultProxy;
  readonly charges: string[];
}

type Charge = (body: string, charges: string[]) => Promise<number> | number;

async function shop(charge: Charge = () => 201, store: Store = memoryStore()): Promise<Shop> {
  const charges: string[] = [];
  const safe = idempotency(store, { leaseMs: 1_000, onError: () => {} });
  const server = await serve(
    safe.wrap(async (req, res) => {
      const parts: Buffer[] = [];
      for await (const part of req) parts.push(part as Buffer);
      const body = Buffer.concat(parts).toString();
      charges.push(body);
      const status = await charge(body, charges);
      res.writeHead(status, { "Content-Type": "text/plain" }).end(`charge ${charges.length}`);
    }),
  );
  const proxy = await startProxy(server.port);
  onTestFinished(async () => {
    await proxy.close();
    await server[Symbol.asyncDispose]();
  });
  return { url: `http://127.0.0.1:${proxy.port}/payments`, proxy, charges };
}

const post = (body: NonNullable<RequestInit["body"]>): RequestInit => ({ method: "POST", body });

describe("one call is one charge", () => {
  it("when the reply is lost after the charge", async () => {
    const { url, proxy, charges } = await shop();
    const cut = proxy.cutAfterRequest((bytes) => bytes.includes("amount"));

    const response = await retryingFetch(QUICK)(url, post("amount=1"));
    await cut;

    expect(response.status).toBe(201);
    expect(response.headers.get("Idempotency-Replayed")).toBe("true");
    expect(await response.text()).toBe("charge 1");
    expect(charges).toEqual(["amount=1"]);
  });

  it("when the server cannot be reached for a while", async () => {
    const { url, proxy, charges } = await shop();
    await proxy.refuse();
    let attempts = 0;
    const send = retryingFetch({
      ...QUICK,
      fetch: async (request) => {
        attempts += 1;
        if (attempts === 3) await proxy.heal();
        return await fetch(request);
      },
    });

    expect((await send(url, post("1"))).status).toBe(201);
    expect(attempts).toBeGreaterThanOrEqual(3);
    expect(charges).toEqual(["1"]);
  });

  it("when the charge takes longer than an attempt may, and each later one finds it running", async () => {
    const done = deferred();
    const { url, charges } = await shop(async () => {
      await done.promise;
      return 201;
    });
    const statuses: number[] = [];
    const send = retryingFetch({
      ...QUICK,
      attemptTimeoutMs: 300,
      fetch: async (request) => {
        const response = await fetch(request);
        statuses.push(response.status);
        if (response.status === 409) done.resolve();
        return response;
      },
    });

    expect(await (await send(url, post("1"))).text()).toBe("charge 1");
    expect(new Set(statuses)).toEqual(new Set([409, 201]));
    expect(charges).toEqual(["1"]);
  });

  it("when the store is down for a while", async () => {
    const store = memoryStore();
    let outages = 2;
    const lock: Store["lock"] = async (...claim) => {
      if (outages-- > 0) throw new Error("ECONNREFUSED");
      return await store.lock(...claim);
    };
    const { url, charges } = await shop(undefined, { ...store, lock });
    const statuses: number[] = [];
    const response = await retryingFetch({ ...QUICK, fetch: atOnce(statuses) })(url, post("1"));

    expect(response.status).toBe(201);
    expect(statuses).toEqual([503, 503, 201]);
    expect(charges).toEqual(["1"]);
  });

  it("when the response breaks off in its middle", async () => {
    const whole = "x".repeat(1_000);
    const keys: (string | undefined)[] = [];
    await using server = await serve((req, res) => {
      keys.push(req.headersDistinct["idempotency-key"]?.[0]);
      res.writeHead(201, { "Content-Length": whole.length });
      if (keys.length > 1) res.end(whole);
      else res.write(whole.slice(0, 500), () => res.destroy());
    });

    const response = await retryingFetch(QUICK)(`http://127.0.0.1:${server.port}/`, post("1"));

    expect(await response.text()).toBe(whole);
    expect(keys).toEqual([expect.stringMatching(/^"[\da-f-]{36}"$/), keys[0]]);
  });
});

it("after a failure that freed the key the handler runs again", async () => {
  const { url, charges } = await shop((_, { length }) => (length === 1 ? 500 : 201));
  expect(await (await retryingFetch(QUICK)(url, post("1"))).text()).toBe("charge 2");
  expect(charges).toEqual(["1", "1"]);
});

it("two calls are two charges, and two with one key are one", async () => {
  const { url, charges } = await shop();
  const send = retryingFetch(QUICK);
  await send(url, post("1"));
  await send(url, post("1"));
  expect(charges).toHaveLength(2);
  const mine = { ...post("1"), headers: { "Idempotency-Key": "order-1" } };
  await send(url, mine);
  const again = await send(new Request(url, mine));
  expect(again.headers.get("Idempotency-Replayed")).toBe("true");
  expect(charges).toHaveLength(3);
});

describe("each attempt sends the same bytes, whatever the body is given as:", () => {
  const bytes = new TextEncoder().encode("a=1");
  const form = () => {
    const data = new FormData();
    data.set("file", new Blob(["content"]), "f.txt");
    return data;
  };
  const stream = () =>
    new ReadableStream<Uint8Array>({
      start: (controller) => {
        controller.enqueue(bytes.slice(0, 1));
        controller.enqueue(bytes.slice(1));
        controller.close();
      },
    });
  const streamed = () => ({ method: "POST", body: stream(), duplex: "half" }) as RequestInit;

  it.each<[string, () => RequestInit]>([
    ["text", () => post("a=1")],
    ["bytes", () => post(bytes)],
    ["a part of a buffer", () => post(new TextEncoder().encode("xa=1x").subarray(1, 4))],
    ["a blob", () => post(new Blob([bytes], { type: "text/plain" }))],
    ["parameters", () => post(new URLSearchParams({ a: "1" }))],
    ["a form", () => post(form())],
    ["a stream", streamed],
    ["nothing", () => ({ method: "POST" })],
  ])("%s", async (_, init) => {
    const got: [string | undefined, string][] = [];
    await using server = await serve(async (req, res) => {
      let body = "";
      for await (const part of req) body += String(part);
      got.push([req.headers["content-type"], body]);
      res.writeHead(got.length < 3 ? 503 : 201).end();
    });
    const url = `http://127.0.0.1:${server.port}/`;

    expect((await retryingFetch(QUICK)(url, init())).status).toBe(201);

    const [first] = got;
    expect(got).toEqual([first, first, first]);
    const once: [string | undefined, string][] = [];
    got.splice(0, got.length, ["", ""], ["", ""]);
    await fetch(url, init());
    once.push(...got.slice(2));
    // And the same as without retries, but for the boundary that each form draws.
    const unbound = (text = "") => text.replaceAll(/-+formdata-[\w-]+/g, "boundary");
    expect(first?.map(unbound)).toEqual(once[0]?.map(unbound));
  });

  it("a buffer that is changed meanwhile", async () => {
    const mine = Uint8Array.from(bytes);
    const got: string[] = [];
    await using server = await serve(async (req, res) => {
      for await (const part of req) got.push(String(part));
      mine.fill(0x78);
      res.writeHead(got.length < 2 ? 503 : 201).end();
    });
    await retryingFetch(QUICK)(`http://127.0.0.1:${server.port}/`, post(mine));
    expect(got).toEqual(["a=1", "a=1"]);
  });
});

/** Sends without the pauses that the server asks for. */
function atOnce(statuses: number[]): ClientOptions["fetch"] {
  return async (request) => {
    const { status, headers, body } = await fetch(request);
    statuses.push(status);
    const fields = [...headers].filter(([name]) => name !== "retry-after");
    return new Response(body, { status, headers: fields });
  };
}
