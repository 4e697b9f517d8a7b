/** C20: a client that hangs up changes nothing: the handler finishes, its response is stored, the retry replays it. */
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { setImmediate as turn } from "node:timers/promises";
import express, { type RequestHandler } from "express";
import { afterAll, describe, expect, test } from "vitest";
import { idempotency, type HttpOptions, type Store } from "../../src/index.js";
import { memoryStore } from "../../stores/memory.js";
import { deferred } from "../support/deferred.js";
import { dial, readBytes, serve, type Sent, type TestServer } from "../support/http.js";

const folder = mkdtempSync(join(tmpdir(), "idempotency-hang-up-"));
const file = join(folder, "receipt.txt");
writeFileSync(file, "receipt");
afterAll(() => rmSync(folder, { recursive: true }));

/** A store that says when it has stored or given back a key. */
function observed(store: Store = memoryStore()) {
  const settled = deferred();
  const observing: Store = {
    ...store,
    set: async (...args) => {
      const result = await store.set(...args);
      settled.resolve();
      return result;
    },
    unlock: async (lease) => {
      await store.unlock(lease);
      settled.resolve();
    },
  };
  return { store: observing, settled: settled.promise };
}

/** Resolves when the server has noticed that the client is gone. */
async function clientGone(req: IncomingMessage): Promise<void> {
  if (!req.socket.destroyed) await once(req.socket, "close");
  // The request and the response are told in the same turn.
  await turn();
}

/** Sends a request and hangs up once the server says so. */
async function hangUpOn(server: TestServer, when: Promise<unknown>, sent: Sent): Promise<void> {
  const req = server.open(sent);
  await when;
  req.destroy();
}

const answers: [name: string, answer: (res: ServerResponse) => unknown, text: string][] = [
  ["end", (res) => res.end("done"), "done"],
  [
    "writeHead, write and end",
    (res) => {
      res.writeHead(200, { "X-A": "1" });
      res.write("do");
      res.end("ne");
    },
    "done",
  ],
  [
    "end after its callback",
    (res) => {
      res.write("do", () => res.end("ne"));
    },
    "done",
  ],
  ["pipe", (res) => Readable.from(["do", "ne"]).pipe(res), "done"],
  ["pipeline", (res) => pipeline(Readable.from(["do", "ne"]), res).catch(() => {}), "done"],
  [
    "chunks in several turns",
    async (res) => {
      for (const letter of "done") {
        res.write(letter);
        await turn();
      }
      res.end();
    },
    "done",
  ],
];

test.each(answers)(
  "a client hangs up, the handler answers by %s: the retry gets that answer, and nothing runs twice",
  async (_, answer, text) => {
    const { store, settled } = observed();
    const started = deferred();
    let runs = 0;
    const safe = idempotency(store);
    await using server = await serve(
      safe.wrap(async (req, res) => {
        runs += 1;
        started.resolve();
        await clientGone(req);
        expect([res.destroyed, res.closed, res.writableEnded, req.destroyed]).toEqual([
          false,
          false,
          false,
          false,
        ]);
        await answer(res);
      }),
    );

    await hangUpOn(server, started.promise, { key: "k", body: "body" });
    await settled;

    const retry = await server.send({ key: "k", body: "body" });
    expect(retry).toMatchObject({ status: 200, text, headers: { "idempotency-replayed": "true" } });
    expect(runs).toBe(1);
  },
);

test.each<[name: string, begin: (res: ServerResponse) => () => unknown]>([
  [
    "between two writes",
    (res) => {
      res.write("do");
      return () => res.end("ne");
    },
  ],
  [
    "in the middle of a pipe",
    (res) => {
      const source = new Readable({ read() {} });
      source.push("do");
      source.pipe(res);
      return () => {
        source.push("ne");
        source.push(null);
      };
    },
  ],
  [
    "in the middle of a pipeline",
    (res) => {
      const source = new Readable({ read() {} });
      source.push("do");
      pipeline(source, res).catch(() => {});
      return () => {
        source.push("ne");
        source.push(null);
      };
    },
  ],
])("a client hangs up %s: the response is stored whole", async (_, begin) => {
  const { store, settled } = observed();
  const started = deferred();
  const safe = idempotency(store);
  await using server = await serve(
    safe.wrap(async (req, res) => {
      const finish = begin(res);
      await turn();
      started.resolve();
      await clientGone(req);
      finish();
    }),
  );

  await hangUpOn(server, started.promise, { key: "k" });
  await settled;
  expect(await server.send({ key: "k" })).toMatchObject({ status: 200, text: "done" });
});

test("a large body can still be read after the client hung up", async () => {
  const { store, settled } = observed();
  const started = deferred();
  const body = "x".repeat(200_000);
  const safe = idempotency(store);
  await using server = await serve(
    safe.wrap(async (req, res) => {
      started.resolve();
      await clientGone(req);
      const { length } = await readBytes(req);
      res.end(`read ${length}, aborted: ${req.aborted}`);
    }),
  );

  await hangUpOn(server, started.promise, { key: "k", body });
  await settled;
  expect(await server.send({ key: "k", body })).toMatchObject({
    text: "read 200000, aborted: false",
  });
});

test("a request that nobody reads is closed once its handler has answered", async () => {
  const started = deferred();
  const closed = deferred<boolean>();
  let answered = false;
  const safe = idempotency(memoryStore());
  await using server = await serve(
    safe.wrap(async (req, res) => {
      req.on("close", () => closed.resolve(answered));
      started.resolve();
      await clientGone(req);
      answered = true;
      res.end();
    }),
  );

  await hangUpOn(server, started.promise, { key: "k", body: "unread" });
  expect(await closed.promise).toBe(true);
});

test("the response's close event comes after its end, once", async () => {
  const started = deferred();
  const closed = deferred();
  const seen: unknown[] = [];
  const safe = idempotency(memoryStore());
  await using server = await serve(
    safe.wrap(async (req, res) => {
      res.on("close", () => {
        seen.push(["close", res.writableEnded, res.destroyed, res.closed]);
        closed.resolve();
      });
      started.resolve();
      await clientGone(req);
      seen.push("gone");
      res.end("done");
      seen.push("ended");
    }),
  );

  await hangUpOn(server, started.promise, { key: "k" });
  await closed.promise;
  await turn();
  expect(seen).toEqual(["gone", "ended", ["close", true, true, true]]);
});

test("a client hangs up before its handler starts: it still runs with the whole body, and the retry gets its answer", async () => {
  const { store, settled } = observed();
  const asked = deferred();
  const gate = deferred();
  let runs = 0;
  const safe = idempotency({
    ...store,
    lock: async (...args) => {
      asked.resolve();
      await gate.promise;
      return await store.lock(...args);
    },
  });
  const handled = safe.wrap(async (req, res) => {
    runs += 1;
    res.end(`read ${(await readBytes(req)).toString()}`);
  });
  await using server = await serve((req, res) => {
    void clientGone(req).then(gate.resolve);
    handled(req, res);
  });

  await hangUpOn(server, asked.promise, { key: "k", body: "body" });
  await settled;

  expect(await server.send({ key: "k", body: "body" })).toMatchObject({ text: "read body" });
  expect(runs).toBe(1);
});

test("a client hangs up while its scope is looked up: the handler still finds the body", async () => {
  const { store, settled } = observed();
  const asked = deferred();
  const safe = idempotency(store, {
    scope: async (req) => {
      asked.resolve();
      if (!req.headers["x-retry"]) await clientGone(req);
      return "tenant";
    },
  });
  await using server = await serve(
    safe.wrap(async (req, res) => {
      res.end(`read ${(await readBytes(req)).toString()}`);
    }),
  );

  await hangUpOn(server, asked.promise, { key: "k", body: "body" });
  await settled;
  const retry = { key: "k", body: "body", headers: { "X-Retry": "1" } };
  expect(await server.send(retry)).toMatchObject({ status: 200, text: "read body" });
});

test("C21: a handler that fails after its client hung up frees the key, and is reported", async () => {
  const { store, settled } = observed();
  const started = deferred();
  const errors: unknown[] = [];
  let runs = 0;
  const safe = idempotency(store, { onError: (error) => errors.push(error) });
  await using server = await serve(
    safe.wrap(async (req, res) => {
      runs += 1;
      if (runs === 2) return res.end("second");
      started.resolve();
      await clientGone(req);
      res.write("half");
      throw new Error("boom");
    }),
  );

  await hangUpOn(server, started.promise, { key: "k" });
  await settled;
  expect(await server.send({ key: "k" })).toMatchObject({ text: "second" });
  expect(errors).toEqual([expect.objectContaining({ message: "boom" })]);
});

test("a handler that destroys the response after its client hung up frees the key", async () => {
  const { store, settled } = observed();
  const started = deferred();
  let runs = 0;
  const safe = idempotency(store);
  await using server = await serve(
    safe.wrap(async (req, res) => {
      runs += 1;
      if (runs === 2) return res.end("second");
      started.resolve();
      await clientGone(req);
      return res.destroy();
    }),
  );

  await hangUpOn(server, started.promise, { key: "k" });
  await settled;
  expect(await server.send({ key: "k" })).toMatchObject({ text: "second" });
});

test("P6: what outgrows the limit after the client hung up leaves a tombstone", async () => {
  const { store, settled } = observed();
  const started = deferred();
  const safe = idempotency(store, { maxResponseBytes: 3 });
  await using server = await serve(
    safe.wrap(async (req, res) => {
      started.resolve();
      await clientGone(req);
      res.write("more ");
      res.end("than that");
    }),
  );

  await hangUpOn(server, started.promise, { key: "k" });
  await settled;
  expect(await server.send({ key: "k" })).toMatchObject({ status: 410 });
});

test("pipelined requests of a client that hangs up are both handled and stored", async () => {
  const bodies: string[] = [];
  const both = deferred();
  const { store } = observed();
  const stored = deferred();
  let sets = 0;
  const safe = idempotency({
    ...store,
    set: async (...args) => {
      const result = await store.set(...args);
      sets += 1;
      if (sets === 2) stored.resolve();
      return result;
    },
  });
  await using server = await serve(
    safe.wrap(async (req, res) => {
      bodies.push((await readBytes(req)).toString());
      if (bodies.length === 2) both.resolve();
      await clientGone(req);
      res.write(bodies.join(" and "));
      await turn();
      res.end();
    }),
  );
  const client = await dial(server.port);
  for (const key of ["a", "b"]) {
    client.write(
      `POST / HTTP/1.1\r\nHost: a\r\nIdempotency-Key: ${key}\r\nContent-Length: 1\r\n\r\n${key}`,
    );
  }
  await both.promise;
  client.socket.destroy();
  await stored.promise;

  for (const key of ["a", "b"]) {
    expect(await server.send({ key, body: key })).toMatchObject({ text: "a and b" });
  }
  expect(bodies).toEqual(["a", "b"]);
});

test.each<[name: string, streams: boolean, retried: object]>([
  ["whole", false, { status: 200, text: "done" }],
  ["streamed", true, { status: 410 }],
])(
  "a response that waits for its turn is destroyed with its connection, as Node from 22 on does (%s)",
  async (_, streams, retried) => {
    const { store, settled } = observed();
    const second = deferred();
    const safe = idempotency(store);
    await using server = await serve((req, res) => {
      if (req.url === "/blocking") return;
      void safe(req, res, async () => {
        second.resolve();
        await clientGone(req);
        if (streams) res.flushHeaders();
        res.destroy(Object.assign(new Error("aborted"), { code: "ECONNRESET" }));
        await turn();
        res.end("done");
      });
    });
    const client = await dial(server.port);
    const fields = "Host: a\r\nContent-Length: 0\r\n";
    client.write(`POST /blocking HTTP/1.1\r\n${fields}\r\n`);
    client.write(`POST / HTTP/1.1\r\n${fields}Idempotency-Key: k\r\n\r\n`);
    await second.promise;
    client.socket.destroy();
    await settled;

    expect(await server.send({ key: "k" })).toMatchObject(retried);
  },
);

test("a client that hangs up before its handler starts: close comes after the end, to each listener once", async () => {
  const asked = deferred();
  const gate = deferred();
  const seen: string[] = [];
  const finished = deferred();
  const memory = memoryStore();
  const safe = idempotency({
    ...memory,
    lock: async (...args) => {
      asked.resolve();
      await gate.promise;
      return await memory.lock(...args);
    },
  });
  const handled = safe.wrap(async (_, res) => {
    res.on("close", () => seen.push("inside"));
    await pipeline(Readable.from(["done"]), res).catch(() => {});
    finished.resolve();
  });
  await using server = await serve((req, res) => {
    res.on("close", () => seen.push("outside"));
    void clientGone(req).then(gate.resolve);
    handled(req, res);
  });

  await hangUpOn(server, asked.promise, { key: "k" });
  await finished.promise;
  expect(seen).toEqual(["outside", "inside"]);
  expect(await server.send({ key: "k" })).toMatchObject({ status: 200, text: "done" });
});

describe("under Express", () => {
  const JSON_BODY: Sent = {
    key: "k",
    path: "/payments",
    body: '{"amount":1999}',
    headers: { "Content-Type": "application/json" },
  };

  test.each<[name: string, handler: RequestHandler, text: string]>([
    ["json", (req, res) => void res.status(201).json(req.body), '{"amount":1999}'],
    ["send", (_, res) => void res.send("paid"), "paid"],
    ["sendStatus", (_, res) => void res.sendStatus(202), "Accepted"],
    ["sendFile", (_, res) => res.sendFile(file), "receipt"],
    ["download", (_, res) => res.download(file), "receipt"],
    [
      "redirect",
      (_, res) => res.redirect(303, "/payments/1"),
      "See Other. Redirecting to /payments/1",
    ],
  ])(
    "a client is gone before the body is parsed; the handler answers by %s",
    async (_, handler, text) => {
      const { store, settled } = observed();
      const started = deferred();
      let runs = 0;
      const app = express();
      app.use(idempotency(store));
      app.use(async (req, _res, next) => {
        started.resolve();
        await clientGone(req);
        next();
      });
      app.use(express.json());
      app.post("/payments", (req, res, next) => {
        runs += 1;
        expect(req.body).toEqual({ amount: 1999 });
        return handler(req, res, next);
      });
      await using server = await serve(app);

      await hangUpOn(server, started.promise, JSON_BODY);
      await settled;

      const retry = await server.send(JSON_BODY);
      expect(retry.headers["idempotency-replayed"]).toBe("true");
      expect(retry.text).toBe(text);
      expect(runs).toBe(1);
    },
  );

  test("a client is gone before a 404 or an error is answered: the key knows the same", async () => {
    const { store, settled } = observed();
    const started = deferred();
    const app = express();
    app.use(idempotency(store));
    app.use(async (req, _res, next) => {
      started.resolve();
      await clientGone(req);
      next();
    });
    await using server = await serve(app);

    await hangUpOn(server, started.promise, JSON_BODY);
    await settled;
    expect(await server.send(JSON_BODY)).toMatchObject({
      status: 404,
      headers: { "idempotency-replayed": "true" },
    });
  });
});

describe("a duplicate that waits", () => {
  /** A first request at work, and duplicates that wait for it. */
  async function waiting(options: Partial<HttpOptions> = {}) {
    const memory = memoryStore();
    const started = deferred();
    const duplicateAsked = deferred();
    const gate = deferred();
    let locks = 0;
    let runs = 0;
    const store: Store = {
      ...memory,
      lock: async (...args) => {
        locks += 1;
        const result = await memory.lock(...args);
        if (locks === 2) duplicateAsked.resolve();
        return result;
      },
    };
    const over: Promise<unknown>[] = [];
    const closed: Promise<unknown>[] = [];
    const safe = idempotency(store, { onConflict: "wait", onError: () => {}, ...options });
    const server = await serve((req, res) => {
      closed.push(once(res, "close"));
      const done = safe(req, res, async () => {
        runs += 1;
        if (runs > 1) return res.end("again");
        started.resolve();
        await gate.promise;
        throw new Error("the key is free now");
      });
      over.push(Promise.resolve(done));
    });
    return {
      server,
      started: started.promise,
      duplicateAsked: duplicateAsked.promise,
      gate,
      over,
      closed,
      runs: () => runs,
      locks: () => locks,
    };
  }

  test("stops waiting when its client hangs up, and never executes", async () => {
    const { server, started, duplicateAsked, gate, over, closed, runs, locks } = await waiting();
    await using _server = server;
    const first = server.send({ key: "k" });
    await started;
    await hangUpOn(server, duplicateAsked, { key: "k" });
    await closed[1];
    await over[1];
    const asked = locks();

    gate.resolve();
    expect(await first).toMatchObject({ status: 500 });
    expect(runs()).toBe(1);
    expect(locks()).toBe(asked);
  });

  test("does not take the key that comes free once its client has hung up", async () => {
    const memory = memoryStore();
    const asked = deferred();
    const freed = deferred();
    const gate = deferred();
    const over: Promise<unknown>[] = [];
    let locks = 0;
    let runs = 0;
    const lock: Store["lock"] = async (...args) => {
      locks += 1;
      const result = await memory.lock(...args);
      if (locks === 2) {
        asked.resolve();
        await freed.promise;
      }
      return result;
    };
    const safe = idempotency({ ...memory, lock }, { onConflict: "wait", onError: () => {} });
    await using server = await serve((req, res) => {
      const done = safe(req, res, async () => {
        runs += 1;
        if (runs > 1) return res.end("nobody waits for this");
        await gate.promise;
        throw new Error("the key is free now");
      });
      over.push(Promise.resolve(done));
    });
    const first = server.send({ key: "k" });
    await hangUpOn(server, asked.promise, { key: "k" });
    gate.resolve();
    await first;
    freed.resolve();
    await over[1];

    expect({ locks, runs }).toEqual({ locks: 2, runs: 1 });
  });

  test("goes on waiting while its client is there", async () => {
    const { server, started, duplicateAsked, gate, runs } = await waiting();
    await using _server = server;
    const first = server.send({ key: "k" });
    await started;
    const duplicate = server.send({ key: "k" });
    await duplicateAsked;
    gate.resolve();

    expect(await first).toMatchObject({ status: 500 });
    expect(await duplicate).toMatchObject({ status: 200, text: "again" });
    expect(runs()).toBe(2);
  });
});
