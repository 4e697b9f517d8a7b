/** When the client tries again, how long it waits, and how it ends. */
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { afterEach, beforeEach, describe, expect, it, test, vi } from "vitest";
import { NoResponseError, retryingFetch, type ClientOptions } from "../../src/client.js";
import type { Given } from "../../src/options.js";
import { serve } from "../support/http.js";

const URL_ = "https://shop.example/payments";
const POST: RequestInit = { method: "POST", body: "1" };

type Script = (Response | Error | ((request: Request) => Promise<Response>))[];

/** A server by its answers: each call takes the next, the last one stays. */
function scripted(answers: Script) {
  const requests: Request[] = [];
  const fetch = async (request: Request): Promise<Response> => {
    const answer = answers[Math.min(requests.length, answers.length - 1)];
    requests.push(request);
    if (answer instanceof Error) throw answer;
    if (typeof answer === "function") return await answer(request);
    if (answer === undefined) throw new Error("There should be an answer.");
    return answer.clone();
  };
  return { requests, fetch };
}

const reply = (status: number, headers: Record<string, string> = {}): Response =>
  new Response(null, { status, headers });
const down = new TypeError("fetch failed");

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance", "Date"] });
});

afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

/** Makes the call and lets time pass until it ends; says how long that took on the fake clock. */
async function call(answers: Script, options: Given<ClientOptions> = {}, init = POST) {
  const { requests, fetch } = scripted(answers);
  const startedAt = performance.now();
  const clock = { running: true, tookMs: 0 };
  const ended = retryingFetch({ fetch, ...options })(URL_, init)
    .then(
      (response) => ({ response, error: undefined }),
      (error: unknown) => ({ response: undefined, error }),
    )
    .finally(() => Object.assign(clock, { running: false, tookMs: performance.now() - startedAt }));
  while (clock.running) await vi.advanceTimersToNextTimerAsync();
  return { ...(await ended), tookMs: clock.tookMs, requests };
}

describe("tried again is what may pass:", () => {
  it.each<[string, Response | Error]>([
    ["a network error", down],
    ["408", reply(408)],
    ["409 that says when", reply(409, { "Retry-After": "1" })],
    ["425", reply(425)],
    ["429", reply(429)],
    ["500", reply(500)],
    ["502", reply(502)],
    ["503", reply(503)],
    ["504", reply(504)],
    ["520", reply(520)],
  ])("%s", async (_, failure) => {
    const { response, requests } = await call([failure, failure, reply(201)]);
    expect(response?.status).toBe(201);
    expect(requests).toHaveLength(3);
  });
});

describe("never tried again is an answer:", () => {
  it.each<[string, Response]>([
    ["200", reply(200)],
    ["204", reply(204)],
    ["304", reply(304)],
    ["400", reply(400)],
    ["404", reply(404)],
    ["409 that does not say when", reply(409)],
    ["410", reply(410)],
    ["422", reply(422)],
    ["422 with Retry-After", reply(422, { "Retry-After": "1" })],
    ["501", reply(501)],
    ["505", reply(505)],
    ["a stored 500", reply(500, { "Idempotency-Replayed": "true" })],
  ])("%s", async (_, answer) => {
    const { response, requests, tookMs } = await call([answer, reply(299)]);
    expect(response?.status).toBe(answer.status);
    expect([requests.length, tookMs]).toEqual([1, 0]);
  });
});

describe("pauses", () => {
  it("are random, up to twice as much each time, and bounded", async () => {
    vi.spyOn(Math, "random").mockReturnValue(1);
    const longest = await call([down, down, down, down, down, reply(201)], { maxPauseMs: 1_000 });
    expect(longest.tookMs).toBe(200 + 400 + 800 + 1_000 + 1_000);
    vi.mocked(Math.random).mockReturnValue(0);
    expect((await call([down, down, down, reply(201)])).tookMs).toBe(0);
  });

  it.each([
    ["seconds", "7", 7_000],
    ["no time", "0", 0],
    ["a date", "Mon, 23 Nov 2026 12:00:09 GMT", 9_000],
    ["a date that is over", "Mon, 23 Nov 2026 11:00:00 GMT", 0],
    ["nonsense", "soon", 0],
    ["a negative number", "-5", 0],
  ])("come on top of what Retry-After asks for: %s", async (_, value, expectedMs) => {
    vi.spyOn(Math, "random").mockReturnValue(0.5);
    vi.setSystemTime("2026-11-23T12:00:00Z");
    const { tookMs } = await call([reply(503, { "Retry-After": value }), reply(201)]);
    expect(tookMs).toBe(expectedMs + 100);
  });

  it("until a date are measured on the server's clock", async () => {
    vi.spyOn(Math, "random").mockReturnValue(0);
    vi.setSystemTime("2020-01-01T00:00:00Z");
    const busy = reply(503, {
      Date: "Mon, 23 Nov 2026 12:00:00 GMT",
      "Retry-After": "Mon, 23 Nov 2026 12:00:05 GMT",
    });
    expect((await call([busy, reply(201)])).tookMs).toBe(5_000);
  });
});

describe("it ends", () => {
  it("with the last response when the attempts are used up", async () => {
    const { response, requests } = await call([down, reply(503)], { maxAttempts: 4 });
    expect(response?.status).toBe(503);
    expect(requests).toHaveLength(4);
  });

  it("with an error that tells of all attempts when the last had no response", async () => {
    const { error } = await call([reply(503), down], { maxAttempts: 3 });
    expect(error).toBeInstanceOf(NoResponseError);
    expect(error).toMatchObject({
      name: "NoResponseError",
      code: "NO_RESPONSE",
      message: expect.stringMatching(/^There was no response after 3 attempts in \d+ ms\. /),
      cause: down,
      attempts: [
        { status: 503, error: undefined },
        { status: undefined, error: down },
        { status: undefined, error: down },
      ],
    });
  });

  it("before the deadline, rather than with a pause across it", async () => {
    vi.spyOn(Math, "random").mockReturnValue(1);
    const busy = reply(503, { "Retry-After": "60" });
    const { response, tookMs } = await call([down, busy], { deadlineMs: 30_000 });
    expect(response?.status).toBe(503);
    expect(tookMs).toBe(200);
  });

  it("at the deadline, where attempts hang", async () => {
    const { error, requests, tookMs } = await call([hanging], { deadlineMs: 20_000 });
    expect(error).toMatchObject({ code: "NO_RESPONSE", cause: { name: "TimeoutError" } });
    expect(tookMs).toBeLessThanOrEqual(20_000);
    expect(requests).toHaveLength(2);
  });

  it("at once, with the caller's reason, when the caller gives up: in an attempt", async () => {
    const caller = new AbortController();
    const reason = new Error("The user left.");
    setTimeout(() => caller.abort(reason), 100);
    const init = { ...POST, signal: caller.signal };
    const { error, requests, tookMs } = await call([hanging], {}, init);
    expect(error).toBe(reason);
    expect([requests.length, tookMs]).toEqual([1, 100]);
  });

  it("at once, with the caller's reason, when the caller gives up: in a pause, or before it begins", async () => {
    const caller = new AbortController();
    const reason = new Error("The user left.");
    setTimeout(() => caller.abort(reason), 100);
    const busy = reply(503, { "Retry-After": "9" });
    const init = { ...POST, signal: caller.signal };
    const paused = await call([busy], {}, init);
    expect(paused.error).toBe(reason);
    expect([paused.requests.length, paused.tookMs]).toEqual([1, 100]);
    expect((await call([busy], {}, init)).error).toBe(reason);
  });

  /** Until its signal says so, as `fetch` does. */
  function hanging({ signal }: Request): Promise<Response> {
    return new Promise((_, reject) => {
      signal.addEventListener("abort", () => reject(signal.reason as Error));
    });
  }
});

describe("the key", () => {
  const keys = (requests: readonly Request[]) =>
    requests.map(({ headers }) => headers.get("Idempotency-Key"));

  it("is a new UUID for each call, and one for all of its attempts", async () => {
    const one = keys((await call([down, down, reply(201)])).requests);
    const two = keys((await call([reply(201)])).requests);
    expect(one).toEqual([expect.stringMatching(/^"[\da-f-]{36}"$/), one[0], one[0]]);
    expect(two[0]).not.toBe(one[0]);
  });

  it("is the caller's where there is one", async () => {
    const init = { ...POST, headers: { "idempotency-key": "mine" } };
    expect(keys((await call([down, reply(201)], {}, init)).requests)).toEqual(["mine", "mine"]);
  });

  it("is not sent with what changes nothing", async () => {
    for (const method of ["GET", "HEAD", "OPTIONS"]) {
      expect(keys((await call([down, reply(200)], {}, { method })).requests)).toEqual([null, null]);
    }
  });

  it("goes by another name where the server wants that", async () => {
    const { requests } = await call([reply(201)], { headerName: "X-Request-Key" });
    expect(requests[0]?.headers.get("x-request-key")).toMatch(/^"/);
    expect(keys(requests)).toEqual([null]);
  });
});

describe("bodies", () => {
  it("that are too long to be kept are refused, before anything is sent", async () => {
    for (const body of ["12345", streamOf("123", "45")]) {
      const init = { method: "POST", body, duplex: "half" } as RequestInit;
      const { error, requests } = await call([reply(201)], { maxBodyBytes: 4 }, init);
      expect(error).toMatchObject({ code: "BODY_TOO_LARGE" });
      expect(requests).toHaveLength(0);
    }
    expect((await call([reply(201)], { maxBodyBytes: 1 })).response?.status).toBe(201);
  });

  it("of a stream that fails are the caller's error", async () => {
    const failure = new Error("disk");
    const body = new ReadableStream({ start: (controller) => controller.error(failure) });
    const init = { method: "POST", body, duplex: "half" } as RequestInit;
    expect(await call([reply(201)], {}, init)).toMatchObject({ error: failure, requests: [] });
  });
});

describe("a response is handed over", () => {
  const endless = (type: string) => async () =>
    new Response(
      new ReadableStream({
        start: (controller) => controller.enqueue(new Uint8Array(10)),
      }),
      { headers: { "Content-Type": type } },
    );

  it.each<[string, string, Given<ClientOptions>]>([
    ["as it comes, if it is an event stream", "text/event-stream; charset=utf-8", {}],
    ["as it comes, if nothing is to be waited for", "text/plain", { maxResponseBytes: 0 }],
    ["when it is too long to wait for", "text/plain", { maxResponseBytes: 9 }],
  ])("%s", async (_, type, options) => {
    const { response, tookMs } = await call([endless(type)], options);
    expect(tookMs).toBe(0);
    const { value } = (await response?.body?.getReader().read()) ?? {};
    expect(value).toHaveLength(10);
  });

  it("with all that a response has", async () => {
    vi.useRealTimers();
    await using server = await serve((req, res) => {
      if (req.url === "/old") res.writeHead(307, { Location: "/new" }).end();
      else res.writeHead(201, "Made").end("whole");
    });
    const response = await retryingFetch()(`http://127.0.0.1:${server.port}/old`, POST);
    expect(response).toMatchObject({ status: 201, statusText: "Made", redirected: true });
    expect(response.url).toMatch(/\/new$/);
    expect(await response.text()).toBe("whole");
  });

  it("that is still coming when the time of its attempt is over", async () => {
    vi.useRealTimers();
    await using server = await serve((_, res) => {
      res.writeHead(200);
      res.write("first ");
      setTimeout(() => res.end("last"), 300);
    });
    const send = retryingFetch({ attemptTimeoutMs: 150, maxResponseBytes: 0 });
    const response = await send(`http://127.0.0.1:${server.port}/`, POST);
    expect(await response.text()).toBe("first last");
  });
});

test("options that cannot work are refused", () => {
  const wrong = { firstPauseMs: 2, maxPauseMs: 1 };
  expect(() => retryingFetch(wrong)).toThrow(/firstPauseMs \(2\) must not exceed maxPauseMs/);
  const mistakes = { maxAttempts: 0, headerName: "a b", retries: 1 } as Given<ClientOptions>;
  expect(() => retryingFetch(mistakes)).toThrow(/'retries'.*; headerName .*; maxAttempts /);
});

test("it is built for browsers: nothing of Node in it, and small", async () => {
  const { outputFiles } = await build({
    entryPoints: [fileURLToPath(new URL("../../src/client.ts", import.meta.url))],
    bundle: true,
    minify: true,
    format: "esm",
    platform: "browser",
    write: false,
  });
  const text = outputFiles[0]?.text ?? "";
  expect(text).not.toMatch(/\bprocess\b|\bBuffer\b|node:/);
  expect(text.length).toBeLessThan(8 * 1_024);
});

function streamOf(...parts: string[]): ReadableStream<Uint8Array> {
  return new ReadableStream({
    start: (controller) => {
      for (const part of parts) controller.enqueue(new TextEncoder().encode(part));
      controller.close();
    },
  });
}
