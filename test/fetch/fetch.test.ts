/** Handlers that take a `Request` and return a `Response`: what they get, what is kept, and what a retry is answered. */
import { Hono, type Context } from "hono";
import { describe, expect, it, test } from "vitest";
import {
  CommitRefusedError,
  idempotency,
  type CachedResponse,
  type KeyedRequest,
  type Store,
} from "../../src/index.js";
import {
  idempotentFetchHandler,
  type FetchOptions,
  type IdempotentFetchRequest,
} from "../../src/fetch.js";
import type { Given } from "../../src/options.js";
import { memoryStore } from "../../stores/memory.js";
import { deferred } from "../support/deferred.js";
import { listen } from "../support/events.js";
import { serveFetch } from "../support/fetch-server.js";
import { serve } from "../support/http.js";
import { ledgerStore } from "../support/ledger-store.js";

type Handler = (request: IdempotentFetchRequest) => Response | Promise<Response>;

interface Sent {
  readonly key?: string;
  readonly body?: NonNullable<RequestInit["body"]>;
  readonly method?: string;
  readonly path?: string;
  readonly headers?: Record<string, string>;
}

function requestFor({ key, body = "{}", method = "POST", path = "/pay", headers = {} }: Sent = {}) {
  return new Request(`https://shop.example${path}`, {
    method,
    headers: { ...headers, ...(key !== undefined && { "Idempotency-Key": key }) },
    ...(method !== "GET" && { body, duplex: "half" }),
  });
}

/** A wrapped handler that counts its runs. */
function protect(
  handler: Handler,
  options: Given<FetchOptions> = {},
  store: Store = memoryStore(),
) {
  const ran: IdempotentFetchRequest[] = [];
  const counting: Handler = (request) => {
    ran.push(request);
    return handler(request);
  };
  const safe = idempotentFetchHandler(counting, store, { onError: () => {}, ...options });
  return { ran, safe, send: (sent: Sent = {}) => safe(requestFor(sent)) };
}

const created: Handler = async (request) =>
  Response.json({ got: await request.text() }, { status: 201 });

async function seen(response: Response) {
  const { status, statusText } = response;
  return { status, statusText, headers: [...response.headers], body: await response.text() };
}

describe("a retry gets the very same answer", () => {
  it.each<[string, () => Response]>([
    ["JSON", () => Response.json({ id: 1 }, { status: 201 })],
    ["text with a reason", () => new Response("made", { status: 201, statusText: "Très Made" })],
    ["bytes", () => new Response(Uint8Array.from({ length: 256 }, (_, at) => at))],
    ["nothing", () => new Response(null, { status: 204 })],
    ["an empty body", () => new Response("", { status: 202 })],
    ["a redirect", () => Response.redirect("https://shop.example/paid", 303)],
    ["a stream", () => new Response(new Blob(["a", "b"]).stream())],
    ["a failure of the request", () => new Response("no", { status: 404 })],
  ])("%s", async (_, respond) => {
    const { ran, send } = protect(respond);
    const [bare, first, retry] = [
      await seen(respond()),
      await seen(await send({ key: "k" })),
      await send({ key: "k" }),
    ];
    expect(first).toEqual(bare);
    expect(retry.headers.get("Idempotency-Replayed")).toBe("true");
    expect(retry.headers.get("Cache-Control")).toBe("no-store");
    const { headers, ...replayed } = await seen(retry);
    expect(replayed).toEqual({ status: bare.status, statusText: bare.statusText, body: bare.body });
    expect(headers).toEqual(expect.arrayContaining(bare.headers));
    expect(ran).toHaveLength(1);
  });

  it("with cookies for the first only, unless they are to be stored, each in a field of its own", async () => {
    const respond = () =>
      new Response("x", {
        headers: [
          ["Set-Cookie", "a=1"],
          ["Set-Cookie", "b=2"],
        ],
      });
    const { send } = protect(respond);
    expect((await send({ key: "k" })).headers.getSetCookie()).toEqual(["a=1", "b=2"]);
    expect((await send({ key: "k" })).headers.getSetCookie()).toEqual([]);
    const keeping = protect(respond, { storeHeaders: ["set-cookie"] });
    await keeping.send({ key: "k" });
    expect((await keeping.send({ key: "k" })).headers.getSetCookie()).toEqual(["a=1", "b=2"]);
  });

  it("whichever front door stored it", async () => {
    const store = memoryStore();
    const { send, ran } = protect(created, {}, store);
    await using server = await serve(idempotency(store).wrap((_, res) => res.end("by http")));
    await server.send({ key: "k", path: "/pay?a=1", body: "{}" });
    expect(await (await send({ key: "k", path: "/pay?a=1" })).text()).toBe("by http");
    expect(ran).toHaveLength(0);
  });
});

describe("the handler", () => {
  it("gets the request itself, its body unread, and whatever else is passed", async () => {
    const got: unknown[] = [];
    const handler = async (request: Request, ...rest: [number, { env: string }]) => {
      got.push(request, await request.json(), ...rest);
      return new Response();
    };
    const safe = idempotentFetchHandler(handler, memoryStore());
    const request = requestFor({ key: "k", body: '{"a":1}' });
    const env = { env: "test" };
    await safe(request, 1, env);
    expect(got[0]).toBe(request);
    expect(got.slice(1)).toEqual([{ a: 1 }, 1, env]);
  });

  it("finds its key, its right to run, and keys for others", async () => {
    const { send } = protect(({ idempotency: context }) =>
      Response.json({
        key: context?.key,
        held: context?.held,
        token: typeof context?.token,
        aborted: context?.signal.aborted,
        derived: context?.deriveKey("bank").length,
      }),
    );
    expect(await (await send({ key: '"k"' })).json()).toEqual({
      key: "k",
      held: true,
      token: "string",
      aborted: false,
      derived: expect.any(Number),
    });
  });

  it("runs without protection where there is no key, or nothing to protect", async () => {
    const { ran, send } = protect(({ idempotency: context }) =>
      Response.json(context === undefined),
    );
    for (const sent of [{}, {}, { key: "k", method: "GET" }, { key: "k", method: "GET" }]) {
      expect(await (await send(sent)).json()).toBe(true);
    }
    expect(ran).toHaveLength(4);
  });

  it("that says doNotStore, or answers 5xx, runs again", async () => {
    const once = protect(({ idempotency: context }) => {
      context?.doNotStore();
      return new Response("try later");
    });
    const failing = protect(() => new Response("down", { status: 503 }));
    for (const { ran, send } of [once, failing]) {
      await send({ key: "k" });
      await send({ key: "k" });
      expect(ran).toHaveLength(2);
    }
  });

  it.each<[string, () => unknown]>([
    ["throws", () => Promise.reject(new Error("no funds"))],
    ["returns no Response", () => ({ status: 201 })],
    ["returns an error Response", () => Response.error()],
    [
      "returns a Response that fails",
      () => new Response(new ReadableStream({ start: (it_) => it_.error(new Error("disk")) })),
    ],
    [
      "returns a Response that was read",
      async () => {
        const response = new Response("x");
        await response.text();
        return response;
      },
    ],
  ])("that %s frees the key, and its server is told", async (_, fail) => {
    let runs = 0;
    const { send } = protect(async () => {
      runs += 1;
      return runs === 1 ? ((await fail()) as Response) : new Response("second");
    });
    await expect(send({ key: "k" })).rejects.toThrow(/./);
    expect(await (await send({ key: "k" })).text()).toBe("second");
  });

  it("may be wrapped twice", async () => {
    const store = memoryStore();
    const inner = idempotentFetchHandler(() => new Response("once"), store);
    expect(await (await protect(inner, {}, memoryStore()).send({ key: "k" })).text()).toBe("once");
    const door = idempotentFetchHandler(async (request: Request): Promise<Response> => {
      if (request.headers.has("X-Again")) return new Response("inside");
      request.headers.set("X-Again", "yes");
      return await door(request);
    }, memoryStore());
    expect(await (await door(requestFor({ key: "k" }))).text()).toBe("inside");
  });
});

describe("refusals are problem documents:", () => {
  async function problem(response: Response) {
    expect(response.headers.get("Content-Type")).toBe("application/problem+json");
    const { code, status } = (await response.json()) as { code: string; status: number };
    expect(status).toBe(response.status);
    return code;
  }

  it("a used key with another request", async () => {
    const { ran, send } = protect(created);
    await send({ key: "k", body: "1" });
    for (const other of [
      { body: "2" },
      { path: "/other" },
      { path: "/pay?x" },
      { method: "PUT" },
    ]) {
      expect(await problem(await send({ key: "k", body: "1", ...other }))).toBe("KEY_REUSED");
    }
    expect(ran).toHaveLength(1);
  });

  it("a duplicate while the first runs; or it waits, and gets the answer", async () => {
    const [begun, done] = [deferred(), deferred()];
    const handler: Handler = async () => {
      begun.resolve();
      await done.promise;
      return new Response("done");
    };
    const store = memoryStore();
    const { send } = protect(handler, {}, store);
    const waiting = protect(handler, { onConflict: "wait" }, store);
    const first = send({ key: "k" });
    await begun.promise;
    const duplicate = await send({ key: "k" });
    expect(duplicate.headers.get("Retry-After")).toBe("1");
    expect(await problem(duplicate)).toBe("REQUEST_IN_PROGRESS");
    const waiter = waiting.send({ key: "k" });
    done.resolve();
    expect(await (await waiter).text()).toBe("done");
    expect(await (await first).text()).toBe("done");
    expect(waiting.ran).toHaveLength(0);
  });

  it("a bad, missing or doubled key, a body too long, or one that was read", async () => {
    const { ran, safe, send } = protect(created, { required: true, maxBodyBytes: 4 });
    expect(await problem(await send({ key: "a b" }))).toBe("KEY_INVALID");
    expect(await problem(await send())).toBe("KEY_MISSING");
    expect(await problem(await send({ key: '"a", "b"' }))).toBe("KEY_INVALID");
    expect(await problem(await send({ key: "k", body: "12345" }))).toBe("BODY_TOO_LARGE");
    const read = requestFor({ key: "k", body: "1" });
    await read.text();
    expect(await problem(await safe(read))).toBe("BODY_UNREADABLE");
    expect(ran).toHaveLength(0);
  });

  it("a store that is down, unless it is to run all the same", async () => {
    const lock = () => Promise.reject(new Error("ECONNREFUSED"));
    const store = { ...memoryStore(), lock };
    const errors: unknown[] = [];
    const options = { onError: (error: unknown) => errors.push(error) };
    const { ran, send } = protect(created, options, store);
    expect(await problem(await send({ key: "k" }))).toBe("STORE_UNAVAILABLE");
    expect(errors).toHaveLength(1);
    expect(ran).toHaveLength(0);
    const open = protect(created, { onStoreFailure: "execute" }, store);
    expect(await (await open.send({ key: "k", body: "1" })).json()).toEqual({ got: "1" });
  });

  it("a server that shuts down", async () => {
    const { safe, send } = protect(created);
    await safe.drain();
    expect(await problem(await send({ key: "k" }))).toBe("DRAINING");
  });

  it("a server that shuts down answers what runs first, and drain waits for it", async () => {
    const [begun, done] = [deferred(), deferred()];
    const { safe, send } = protect(async () => {
      begun.resolve();
      await done.promise;
      return new Response("done");
    });
    const first = send({ key: "k" });
    await begun.promise;
    let drained = false;
    const drain = safe.drain().then(() => (drained = true));
    expect(await problem(await send({ key: "other" }))).toBe("DRAINING");
    expect(drained).toBe(false);
    done.resolve();
    expect(await (await first).text()).toBe("done");
    await drain;
  });
});

describe("a response that cannot be kept leaves as it comes, and a retry is not run again:", () => {
  const chunks = ["one,", "two,", "three"];
  const streamed = (type: string, sent: string[] = chunks) =>
    new Response(
      new ReadableStream<Uint8Array>({
        pull: (controller) => {
          const chunk = sent.shift();
          if (chunk === undefined) controller.close();
          else controller.enqueue(new TextEncoder().encode(chunk));
        },
      }),
      { headers: { "Content-Type": type, "Content-Length": "13" } },
    );

  it.each([
    ["too long", "text/plain", 5, "too-large"],
    ["an event stream", "text/event-stream", 1_000, "streamed"],
  ])("%s", async (_, type, maxResponseBytes, reason) => {
    using events = listen();
    const { ran, send } = protect(() => streamed(type, [...chunks]), { maxResponseBytes });
    const first = await send({ key: "k" });
    expect(first.headers.get("Content-Length")).toBeNull();
    expect(await first.text()).toBe(chunks.join(""));
    const retry = await send({ key: "k" });
    expect(retry.status).toBe(410);
    expect(ran).toHaveLength(1);
    expect(events.all).toMatchObject([{ type: "tombstoned", reason }]);
  });

  it("its end only leaves when the tombstone is stored", async () => {
    const [asked, stored] = [deferred(), deferred()];
    const store = memoryStore();
    const set: Store["set"] = async (...args) => {
      asked.resolve();
      await stored.promise;
      return await store.set(...args);
    };
    const { send } = protect(() => streamed("text/event-stream", ["a"]), {}, { ...store, set });
    const reader = (await send({ key: "k" })).body?.getReader();
    expect((await reader?.read())?.value).toHaveLength(1);
    let ended = false;
    const end = reader?.read().then(({ done }) => {
      ended = done;
    });
    await asked.promise;
    expect(ended).toBe(false);
    stored.resolve();
    await end;
    expect(ended).toBe(true);
  });

  it("where the tombstone cannot be stored, the response is cut short", async () => {
    const set = () => Promise.reject(new Error("ECONNRESET"));
    const { safe, send } = protect(
      () => streamed("text/event-stream", ["a"]),
      { leaseMs: 100, maxHandlingMs: 100 },
      { ...memoryStore(), set },
    );
    const response = await send({ key: "k" });
    await expect(response.text()).rejects.toThrow(/not known/);
    await safe.drain();
  });

  it("a client that hangs up on it ends it, and leaves a tombstone", async () => {
    using events = listen();
    const tombstoned = events.next("tombstoned");
    let cancelled = false;
    const endless = () =>
      new Response(
        new ReadableStream({
          pull: (controller) => controller.enqueue(new Uint8Array(100)),
          cancel: () => {
            cancelled = true;
          },
        }),
        { headers: { "Content-Type": "text/event-stream" } },
      );
    const { send } = protect(endless);
    await (await send({ key: "k" })).body?.cancel();
    await tombstoned;
    expect(cancelled).toBe(true);
    expect((await send({ key: "k" })).status).toBe(410);
  });

  it("a stream that fails half-way frees the key", async () => {
    let runs = 0;
    const { send } = protect(() => {
      runs += 1;
      const breaks = new ReadableStream<Uint8Array>({
        pull: (controller) => controller.error(new Error("disk")),
      });
      return runs === 1
        ? new Response(breaks, { headers: { "Content-Type": "text/event-stream" } })
        : new Response("second");
    });
    await expect((await send({ key: "k" })).text()).rejects.toThrow("disk");
    await expect.poll(async () => (await send({ key: "k" })).status, { timeout: 10_000 }).toBe(200);
    expect(runs).toBe(2);
  });
});

describe("commitWith", () => {
  it("answers with what was committed, whatever the handler returns or throws after it", async () => {
    for (const end of [() => new Response("ignored"), () => Promise.reject(new Error("late"))]) {
      const store = ledgerStore();
      const { send } = protect(
        async ({ idempotency: context }) => {
          const answer = { statusCode: 201, headers: { "X-Id": "1" }, body: { paid: true } };
          expect(await context?.commitWith([{ name: "payment" }], answer)).toBe(true);
          return await end();
        },
        {},
        store,
      );
      for (const replayed of [null, "true"]) {
        const response = await send({ key: "k" });
        expect(response.headers.get("Idempotency-Replayed")).toBe(replayed);
        expect(response.headers.get("Content-Type")).toBe("application/json");
        expect(await response.json()).toEqual({ paid: true });
      }
      expect(store.ledger).toEqual([{ name: "payment" }]);
    }
  });

  it("decides also where the handler does not wait for it, and returns a stream", async () => {
    const { send } = protect(
      ({ idempotency: context }) => {
        context?.commitWith([{ name: "payment" }], { body: "committed" }).catch(() => undefined);
        return new Response("ignored", { headers: { "Content-Type": "text/event-stream" } });
      },
      {},
      ledgerStore(),
    );
    expect(await (await send({ key: "k" })).text()).toBe("committed");
    expect(await (await send({ key: "k" })).text()).toBe("committed");
  });

  it("that is refused leaves the answer to the handler", async () => {
    const store = ledgerStore();
    const { send } = protect(
      async ({ idempotency: context }) => {
        try {
          await context?.commitWith([{ name: "seat 1" }], { body: "yours" });
        } catch (error) {
          return new Response("taken", { status: error instanceof CommitRefusedError ? 409 : 500 });
        }
        return new Response("ignored");
      },
      {},
      store,
    );
    expect(await (await send({ key: "a" })).text()).toBe("yours");
    for (let turn = 0; turn < 2; turn += 1) {
      const response = await send({ key: "b" });
      expect([response.status, await response.text()]).toEqual([409, "taken"]);
    }
  });

  it("refuses what cannot be answered, and nothing is written", async () => {
    const store = ledgerStore();
    const refusals: string[] = [];
    const { send } = protect(
      async ({ idempotency: context }) => {
        const wrong = [{ body: "x".repeat(100) }, { headers: { "a b": "1" } }, { statusCode: 99 }];
        for (const answer of wrong) {
          await context
            ?.commitWith([{ name: "n" }], answer)
            .catch((error: Error) => refusals.push(error.name));
        }
        return new Response("plain");
      },
      { maxResponseBytes: 50 },
      store,
    );
    expect(await (await send({ key: "k" })).text()).toBe("plain");
    expect(refusals).toHaveLength(3);
    expect(store.ledger).toEqual([]);
  });
});

test("hooks get the request: scope, onReplay", async () => {
  const { ran, send } = protect(created, {
    scope: (request) => request.headers.get("X-Tenant") ?? undefined,
    onReplay: (response: CachedResponse) => ({ "X-Status": String(response.statusCode) }),
  });
  const [one, two] = [{ "X-Tenant": "1" }, { "X-Tenant": "2" }];
  await send({ key: "k", headers: one });
  await send({ key: "k", headers: two });
  expect((await send({ key: "k", headers: one })).headers.get("X-Status")).toBe("201");
  expect((await send({ key: "k" })).status).toBe(400);
  expect(ran).toHaveLength(2);
});

test("all hooks get the request itself", async () => {
  const requests = [1, 2, 3].map(() => requestFor({ key: "k" }));
  const asked: [hook: string, of: number][] = [];
  const noted =
    <V, T>(hook: string, answer: (value: V) => T) =>
    (value: V, original: Request): T => {
      asked.push([hook, requests.indexOf(original)]);
      return answer(value);
    };
  const { safe } = protect(created, {
    keyFunc: noted("keyFunc", ({ key }: KeyedRequest) => key),
    fingerprint: noted("fingerprint", () => "same"),
    onReplay: noted("onReplay", () => undefined),
    onError: noted("onError", () => undefined),
  });
  const [, , read] = requests;
  await read?.text();
  for (const request of requests) await safe(request);

  expect(asked).toEqual([
    ["keyFunc", 0],
    ["fingerprint", 0],
    ["keyFunc", 1],
    ["fingerprint", 1],
    ["onReplay", 1],
    ["onError", 2],
  ]);
});

test("what is no handler, and wrong options, are refused at once", () => {
  expect(() => idempotentFetchHandler(1 as unknown as Handler, memoryStore())).toThrow(
    /idempotentFetchHandler: the handler must be a function/,
  );
  const wrong = { ttlMs: -1 };
  expect(() => idempotentFetchHandler(created, memoryStore(), wrong)).toThrow(/ttlMs/);
});

test("in a route of Hono: its context is passed on, a retry is replayed, another route is left alone", async () => {
  const routes: unknown[] = [];
  const safe = idempotentFetchHandler((request: IdempotentFetchRequest, context: Context) => {
    routes.push(context.req.path);
    return context.json({ key: request.idempotency?.key }, 201);
  }, memoryStore());
  const app = new Hono()
    .post("/payments", (context) => safe(context.req.raw, context))
    .get("/payments", (context) => context.text("none"));
  const pay = async () => app.request(requestFor({ key: "k", path: "/payments" }));
  const [first, retry] = [await pay(), await pay()];

  expect([first.status, retry.status]).toEqual([201, 201]);
  expect(await first.json()).toEqual({ key: "k" });
  expect(await retry.json()).toEqual({ key: "k" });
  expect(retry.headers.get("idempotency-replayed")).toBe("true");
  expect(await (await app.request("/payments")).text()).toBe("none");
  expect(routes).toEqual(["/payments"]);
});

describe("on a real server", () => {
  it("a payment retried is charged once, ten at a time", async () => {
    const { ran, safe } = protect(created, { onConflict: "wait" });
    await using server = await serveFetch(safe);
    const sent = { key: "k", path: "/pay", body: '{"amount":1}' };
    const answers = await Promise.all(Array.from({ length: 10 }, () => server.send(sent)));
    expect(new Set(answers.map(({ text }) => text))).toEqual(
      new Set(['{"got":"{\\"amount\\":1}"}']),
    );
    expect(answers.map(({ status }) => status)).toEqual(Array.from({ length: 10 }, () => 201));
    expect(ran).toHaveLength(1);
  });

  it("two header lines with keys are refused, not joined", async () => {
    const { ran, safe } = protect(created);
    await using server = await serveFetch(safe);
    const doubled = await server.send({ headers: { "Idempotency-Key": ["a", "b"] } });
    expect(doubled.status).toBe(400);
    expect(ran).toHaveLength(0);
  });
});
