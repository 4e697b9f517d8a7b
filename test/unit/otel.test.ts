/** What OpenTelemetry is told of requests, handlers and store calls. */
import {
  context,
  metrics,
  ROOT_CONTEXT,
  SpanStatusCode,
  trace,
  type Attributes,
  type Context,
  type ContextManager,
} from "@opentelemetry/api";
import { AsyncLocalStorage } from "node:async_hooks";
import { readFileSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, it, test } from "vitest";
import { idempotency, LockFailedError, type HttpOptions, type Store } from "../../src/index.js";
import type { Given } from "../../src/options.js";
import { instrument, type TelemetryOptions } from "../../src/otel.js";
import { memoryStore } from "../../stores/memory.js";
import { table } from "../layout/readme.js";
import { deferred } from "../support/deferred.js";
import { readBytes, serve, type Listener } from "../support/http.js";
import { keepingMeterProvider, keepingTracerProvider } from "../support/telemetry.js";

let meter: ReturnType<typeof keepingMeterProvider>;
let tracer: ReturnType<typeof keepingTracerProvider>;
let stop: () => void;

beforeEach(() => {
  meter = keepingMeterProvider();
  tracer = keepingTracerProvider();
  const { meterProvider } = meter;
  const { tracerProvider } = tracer;
  stop = instrument({ meterProvider, tracerProvider });
});

afterEach(() => {
  stop();
});

const QUIET: Given<HttpOptions> = { onError: () => {} };
const created: Listener = (_, res) => res.writeHead(201).end("done");

function service(handler = created, store: Store = memoryStore(), options = {}) {
  return serve(idempotency(store, { ...QUIET, ...options }).wrap(handler));
}

function told(name: string): Attributes[] {
  return meter.measurements
    .filter((measurement) => measurement.name === name)
    .map(({ attributes }) => attributes);
}

const outcome = (value: string, error?: string): Attributes => ({
  "idempotency.outcome": value,
  ...(error !== undefined && { "error.type": error }),
});

describe("each request is counted and timed by how it was answered:", () => {
  it("executed, replayed, mismatched", async () => {
    await using server = await service();
    await server.send({ key: "k", body: "1" });
    await server.send({ key: "k", body: "1" });
    await server.send({ key: "k", body: "2" });
    await server.send({ body: "no key" });

    const expected = [outcome("executed"), outcome("replayed"), outcome("refused", "KEY_REUSED")];
    expect(told("idempotency.requests")).toEqual(expected);
    expect(told("idempotency.request.duration")).toEqual(expected);
  });

  it("in conflict", async () => {
    const [begun, done] = [deferred(), deferred()];
    await using server = await service(async (req, res) => {
      begun.resolve();
      await done.promise;
      created(req, res);
    });
    const first = server.send({ key: "k" });
    await begun.promise;
    await server.send({ key: "k" });
    done.resolve();
    await first;
    expect(told("idempotency.requests")).toEqual([
      outcome("refused", "REQUEST_IN_PROGRESS"),
      outcome("executed"),
    ]);
  });

  it("released, failed, unprotected, and refused for want of a store", async () => {
    await using released = await service((_, res) => res.writeHead(500).end());
    await released.send({ key: "k" });
    await using failed = await service(() => {
      throw new TypeError("secret");
    });
    await failed.send({ key: "k" });
    const lock = () => Promise.reject(new Error("secret"));
    const broken = { ...memoryStore(), lock };
    await using refused = await service(created, broken);
    await refused.send({ key: "k" });
    await using open = await service(created, broken, { onStoreFailure: "execute" });
    await open.send({ key: "k" });

    expect(told("idempotency.requests")).toEqual([
      outcome("released"),
      outcome("failed", "HANDLER_FAILED"),
      outcome("refused", "STORE_UNAVAILABLE"),
      outcome("unprotected"),
    ]);
    expect(told("idempotency.handler.duration")).toEqual([{}, { "error.type": "HANDLER_FAILED" }]);
    expect(told("idempotency.store.duration").at(-1)).toEqual({
      "idempotency.store.operation": "lock",
      "error.type": "STORE_UNAVAILABLE",
    });
  });

  it("not where the key, the scope or the body could not be read, nor at shutdown", async () => {
    const safe = idempotency(memoryStore(), {
      ...QUIET,
      maxBodyBytes: 1,
      scope: (req) => req.headers.via,
    });
    const handled = safe.wrap(created);
    await using server = await serve(async (req, res) => {
      if (req.url === "/read-before") await readBytes(req);
      handled(req, res);
    });
    const headers = { Via: "1.1 a" };
    const refused = [
      await server.send({ key: "a b", headers }),
      await server.send({ key: "k" }),
      await server.send({ key: "k", body: "12", headers }),
      await server.send({ key: "k", body: "1", headers, path: "/read-before" }),
    ];
    await safe.drain();
    refused.push(await server.send({ key: "k", headers }));
    expect(refused.map(({ text }) => JSON.parse(text) as object)).toMatchObject([
      { status: 400, code: "KEY_INVALID" },
      { status: 400, code: "SCOPE_MISSING" },
      { status: 413, code: "BODY_TOO_LARGE" },
      { status: 500, code: "BODY_UNREADABLE" },
      { status: 503, code: "DRAINING" },
    ]);
    expect(meter.measurements).toEqual([]);
  });

  it("not kept, lost, and not granted", async () => {
    await using large = await service(created, memoryStore(), { maxResponseBytes: 0 });
    await large.send({ key: "k" });
    await large.send({ key: "k" });
    const store = memoryStore();
    const lock: Store["lock"] = async (...claim) => {
      const found = await store.lock(...claim);
      return found.state === "acquired"
        ? { ...found, lease: { ...found.lease, validUntil: 0 } }
        : found;
    };
    await using lost = await service(created, { ...store, lock });
    await lost.send({ key: "k" });
    const full = () => Promise.reject(new LockFailedError("full"));
    await using refused = await service(created, { ...memoryStore(), lock: full });
    await refused.send({ key: "k" });
    expect(told("idempotency.requests")).toEqual([
      outcome("executed"),
      outcome("refused", "RESPONSE_NOT_KEPT"),
      outcome("refused", "LEASE_LOST"),
      outcome("refused", "LOCK_FAILED"),
    ]);
  });
});

test("the page lists every metric, with its kind and unit", () => {
  const page = readFileSync(new URL("../../docs/telemetry.md", import.meta.url), "utf8");
  const listed = table(page, "Name").map(([name = "", kind = ""]) =>
    [name, kind].join(" ").replaceAll("`", ""),
  );
  const made = [...meter.instruments].map(([name, { kind, unit }]) => `${name} ${kind}, ${unit}`);
  expect(listed.toSorted()).toEqual(made.toSorted());
});

test("times are seconds, with buckets, and as long as things took", async () => {
  await using server = await service((req, res) => setTimeout(() => created(req, res), 30));
  await server.send({ key: "k" });

  const histograms = ["request", "handler", "store"].map((what) => `idempotency.${what}.duration`);
  for (const name of histograms) {
    const { unit, advice } = meter.instruments.get(name) ?? {};
    expect(unit).toBe("s");
    const buckets = advice?.explicitBucketBoundaries ?? [];
    expect(buckets.length).toBeGreaterThan(5);
    expect(buckets).toEqual(buckets.toSorted((a, b) => a - b));
  }
  const handler = meter.measurements.find(({ name }) => name === histograms[1]);
  const request = meter.measurements.find(({ name }) => name === histograms[0]);
  expect(handler?.value).toBeGreaterThan(0.02);
  expect(request?.value).toBeGreaterThanOrEqual(handler?.value ?? Number.NaN);
  expect(request?.value).toBeLessThan(20);
});

test("each store call is timed by what it did", async () => {
  await using server = await service();
  await server.send({ key: "k" });
  await server.send({ key: "k" });
  const call = (operation: string, result: string) => ({
    "idempotency.store.operation": operation,
    "idempotency.store.outcome": result,
  });
  expect(told("idempotency.store.duration")).toEqual([
    call("lock", "acquired"),
    call("set", "stored"),
    call("lock", "completed"),
  ]);
});

test.each([
  [true, "extended"],
  [false, "lost"],
])("a renewal that answers %s is timed as %s", async (held, result) => {
  const asked = deferred();
  const extend = async (): Promise<boolean> => {
    setImmediate(() => asked.resolve());
    return held;
  };
  await using server = await service(
    async (req, res) => {
      await asked.promise;
      created(req, res);
    },
    { ...memoryStore(), extend },
    { leaseMs: 1_500 },
  );
  await server.send({ key: "k" });

  expect(told("idempotency.store.duration")).toContainEqual({
    "idempotency.store.operation": "extend",
    "idempotency.store.outcome": result,
  });
});

test("events are counted with their reasons, and told to the request's span", async () => {
  const store = memoryStore();
  const extend = async (): Promise<boolean> => false;
  const lost = deferred();
  await using server = await service(
    async (req, res) => {
      await lost.promise;
      created(req, res);
    },
    {
      ...store,
      extend: async () => {
        setImmediate(() => lost.resolve());
        return await extend();
      },
    },
    { leaseMs: 100 },
  );
  await server.send({ key: "k" });

  const reason = { "idempotency.reason": "taken" };
  expect(told("idempotency.events")).toEqual([{ "idempotency.event": "lease-lost", ...reason }]);
  const events = tracer.spans.flatMap((span) => span.events.map(({ name }) => [span.name, name]));
  expect(events).toEqual([["idempotency request", "idempotency.lease-lost"]]);
});

describe("spans", () => {
  it("lie one below the other, and all end", async () => {
    await using server = await service();
    await server.send({ key: "k" });
    expect(tracer.spans).toMatchObject([
      { name: "idempotency request", parent: undefined, attributes: outcome("executed") },
      { name: "idempotency lock", parent: "idempotency request" },
      { name: "idempotency handler", parent: "idempotency request" },
      { name: "idempotency set", parent: "idempotency request" },
    ]);
    expect(tracer.spans.every(({ ended }) => ended)).toBe(true);
    expect(tracer.spans.every(({ status }) => status === undefined)).toBe(true);
  });

  it("of requests at the same time keep apart", async () => {
    await using server = await service(async (req, res) => {
      await new Promise((resolve) => setImmediate(resolve));
      created(req, res);
    });
    await Promise.all(["a", "b", "c"].map((key) => server.send({ key })));
    const parents = tracer.spans.filter(({ name }) => name !== "idempotency request");
    expect(parents).toHaveLength(9);
    expect(new Set(parents.map(({ parent }) => parent))).toEqual(new Set(["idempotency request"]));
  });

  it("are errors where the server failed, and not where a client did", async () => {
    await using server = await service(() => {
      throw new Error("no funds");
    });
    await server.send({ key: "k" });
    const failed = tracer.spans
      .filter(({ status }) => status?.code === SpanStatusCode.ERROR)
      .map(({ name }) => name);
    expect(failed).toEqual(["idempotency request", "idempotency handler"]);

    await using other = await service();
    tracer.spans.length = 0;
    await other.send({ key: "k", body: "1" });
    await other.send({ key: "k", body: "2" });
    expect(tracer.spans.filter(({ status }) => status !== undefined)).toEqual([]);
  });

  it("begin below the one that is active", async () => {
    context.setGlobalContextManager(contextManager());
    try {
      const outer = tracer.tracerProvider.getTracer("app").startSpan("POST /payments");
      await using server = await serve((req, res) => {
        const safe = idempotency(memoryStore()).wrap(created);
        context.with(trace.setSpan(ROOT_CONTEXT, outer), () => safe(req, res));
      });
      await server.send({ key: "k" });
    } finally {
      context.disable();
    }
    expect(tracer.spans[1]).toMatchObject({
      name: "idempotency request",
      parent: "POST /payments",
    });
  });

  it("of the handler itself lie beside them, below the one that is active", async () => {
    context.setGlobalContextManager(contextManager());
    try {
      const app = tracer.tracerProvider.getTracer("app");
      const outer = app.startSpan("POST /payments");
      const handler: Listener = (req, res) => {
        app.startSpan("bank", {}, context.active()).end();
        created(req, res);
      };
      await using server = await serve((req, res) => {
        const safe = idempotency(memoryStore()).wrap(handler);
        context.with(trace.setSpan(ROOT_CONTEXT, outer), () => safe(req, res));
      });
      await server.send({ key: "k" });
    } finally {
      context.disable();
    }
    expect(tracer.spans.find(({ name }) => name === "bank")).toMatchObject({
      parent: "POST /payments",
    });
  });
});

test("nothing of keys, bodies, headers or errors is told", async () => {
  await using server = await service(() => {
    throw new Error("secret");
  });
  await server.send({ key: "secret", body: "secret", headers: { "X-Secret": "secret" } });
  const everything = JSON.stringify([meter.measurements, tracer.spans]);
  expect(everything).toContain("HANDLER_FAILED");
  expect(everything).not.toMatch(/secret|[0-9a-f]{32}|[\w-]{43}/);
});

test("after it was ended nothing is told any more, and ending it twice does no harm", async () => {
  stop();
  stop();
  await using server = await service();
  await server.send({ key: "k" });
  expect([meter.measurements, tracer.spans]).toEqual([[], []]);
});

test("a request that was under way when it was ended goes on", async () => {
  const done = deferred();
  const begun = deferred();
  await using server = await service(async (req, res) => {
    begun.resolve();
    await done.promise;
    created(req, res);
  });
  const answer = server.send({ key: "k" });
  await begun.promise;
  stop();
  done.resolve();
  expect((await answer).status).toBe(201);
});

test("without providers it uses the global ones", async () => {
  stop();
  metrics.setGlobalMeterProvider(meter.meterProvider);
  trace.setGlobalTracerProvider(tracer.tracerProvider);
  stop = instrument();
  await using server = await service();
  await server.send({ key: "k" });
  metrics.disable();
  trace.disable();
  expect(told("idempotency.requests")).toEqual([outcome("executed")]);
  expect(tracer.spans.length).toBeGreaterThan(0);
});

test("what is no provider is refused", () => {
  const options = { meterProvider: {}, tracerProvider: 1 } as unknown as TelemetryOptions;
  expect(() => instrument(options)).toThrow(/meterProvider must be .*tracerProvider must be/);
});

/** As the SDK's, in few lines. */
function contextManager(): ContextManager {
  const storage = new AsyncLocalStorage<Context>();
  const manager: ContextManager = {
    active: () => storage.getStore() ?? ROOT_CONTEXT,
    with: (active, fn, thisArg, ...args) =>
      storage.run(active, () => fn.apply(thisArg as ThisParameterType<typeof fn>, args)),
    bind: (_, target) => target,
    enable: () => manager,
    disable: () => manager,
  };
  return manager;
}
