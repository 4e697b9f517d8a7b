/** The payments demo as its users have it: the built server in a process of its own, over real sockets. */
import { once } from "node:events";
import { createServer, type AddressInfo } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { fetchArguments } from "../support/curl.js";
import { until } from "../../infra/services/until.js";
import { parseSettings } from "../../infra/settings.js";
import {
  chargesOf,
  failedStart,
  killAll,
  pay,
  start,
  startPayment,
  startSupervised,
  stopped,
} from "./demo.js";

afterEach(killAll);

describe("the printed curl lines", () => {
  it("show a payment, its retry, a reused key and the list", async () => {
    const { printed } = await start();
    const lines = printed.split("\n").filter((line) => line.startsWith("curl "));
    const answers: Response[] = [];
    for (const line of lines) answers.push(await fetch(...fetchArguments(line)));

    const [first, retry, reused, list] = answers;
    expect(answers.map(({ status }) => status)).toEqual([201, 201, 422, 200]);
    const payment: unknown = await first?.json();
    expect(retry?.headers.get("idempotency-replayed")).toBe("true");
    expect(await retry?.json()).toEqual(payment);
    expect(await reused?.json()).toMatchObject({ code: "KEY_REUSED", status: 422 });
    expect(await list?.json()).toEqual({ count: 1, payments: [payment] });
  });
});

describe("where it listens", () => {
  it("is HOST and PORT, and this machine's port 3000 with memory unless told otherwise", async () => {
    expect(parseSettings({})).toMatchObject({
      host: "127.0.0.1",
      port: 3_000,
      storeName: "memory",
    });
    const { origin, printed } = await start({ HOST: "0.0.0.0" });
    expect(origin).toMatch(/^http:\/\/0\.0\.0\.0:\d+$/);
    expect(printed).toMatch(/^Responses are kept in: memory/m);
    const { port } = new URL(origin);
    expect((await fetch(`http://127.0.0.1:${port}/health`)).status).toBe(200);
  });
});

describe("a payment", () => {
  it("retried is charged once, and every answer has the same bytes", async () => {
    const { origin } = await start();
    const first = await pay(origin, { key: "k" });
    const retries = await Promise.all(["k", '"k"', "k"].map((key) => pay(origin, { key })));

    expect(first.status).toBe(201);
    expect(first.headers.get("idempotency-replayed")).toBeNull();
    const bytes = await first.text();
    const { id } = JSON.parse(bytes) as { id: string };
    expect(first.headers.get("location")).toBe(`/payments/${id}`);
    for (const retry of retries) {
      expect(retry.status).toBe(201);
      expect(retry.headers.get("idempotency-replayed")).toBe("true");
      expect(retry.headers.get("location")).toBe(`/payments/${id}`);
      expect(await retry.text()).toBe(bytes);
    }
    const found = await fetch(`${origin}/payments/${id}`);
    expect(await found.text()).toBe(bytes);
    expect(await chargesOf(origin)).toBe(1);
  });

  it("has the amount, the currency and a time", async () => {
    const { origin } = await start();
    const answer = await pay(origin, { key: "k", body: '{"amount":1,"currency":"JPY"}' });
    const payment = (await answer.json()) as { createdAt: string };
    expect(payment).toMatchObject({ amount: 1, currency: "JPY" });
    expect(new Date(payment.createdAt).toISOString()).toBe(payment.createdAt);
  });

  it("of another amount under a used key gets 422 and is not charged", async () => {
    const { origin } = await start();
    await pay(origin, { key: "k" });
    const answer = await pay(origin, { key: "k", body: '{"amount":2,"currency":"EUR"}' });
    await expectProblem(answer, 422, { title: "Idempotency-Key is already used" });
    expect(await chargesOf(origin)).toBe(1);
  });

  it("without a key gets 400 and is not charged", async () => {
    const { origin } = await start();
    await expectProblem(await pay(origin, {}), 400, { title: "Idempotency-Key is missing" });
    expect(await chargesOf(origin)).toBe(0);
  });

  it("repeated while the first still runs gets 409 with Retry-After", async () => {
    const { origin } = await start();
    const { conflict } = await startPayment(origin, 600_000);
    expect(conflict?.headers.get("retry-after")).toBe("1");
    await expectProblem(conflict, 409, { code: "REQUEST_IN_PROGRESS" });
    expect(await chargesOf(origin)).toBe(0);
  });
});

describe("bad input", () => {
  const mistakes: [what: string, named: string, body: string | undefined, delayMs?: string][] = [
    ["invalid JSON", "JSON", "{"],
    ["no body", "JSON", ""],
    ["no object", "amount", "null"],
    ["no amount", "amount", '{"currency":"EUR"}'],
    ["an amount of zero", "amount", '{"amount":0,"currency":"EUR"}'],
    ["a broken amount", "amount", '{"amount":19.99,"currency":"EUR"}'],
    ["an amount past safe integers", "amount", '{"amount":9007199254740992,"currency":"EUR"}'],
    ["an amount as text", "amount", '{"amount":"1","currency":"EUR"}'],
    ["no currency", "currency", '{"amount":1}'],
    ["a currency in lower case", "currency", '{"amount":1,"currency":"eur"}'],
    ["a delay that is no number", "delayMs", undefined, "soon"],
    ["a delay past ten minutes", "delayMs", undefined, "600001"],
  ];

  it("gets 400 and hears why, and nothing is charged", async () => {
    const { origin } = await start();
    for (const [what, named, body, delayMs] of mistakes) {
      const answer = await pay(origin, { key: what.replaceAll(" ", "-"), body, delayMs });
      await expectProblem(answer, 400, { detail: expect.stringContaining(named) });
    }
    expect(await chargesOf(origin)).toBe(0);
  });
});

describe("other paths and methods", () => {
  it("GET /health answers ok", async () => {
    const { origin } = await start();
    const answer = await fetch(`${origin}/health`);
    expect(answer.status).toBe(200);
    expect(await answer.json()).toEqual({ status: "ok" });
  });

  it("what does not exist is not found", async () => {
    const { origin } = await start();
    for (const path of ["/none", "/nothing", "/payments/none"]) {
      const answer = await fetch(origin + path);
      expect({ path, status: answer.status }).toEqual({ path, status: 404 });
      await expectProblem(answer, 404, { title: "Not Found" });
    }
  });

  it("a method that is not allowed is told which are", async () => {
    const { origin } = await start();
    const refused = [
      ["DELETE", "/payments", "GET, HEAD, POST"],
      ["POST", "/payments/1", "GET, HEAD"],
      ["PUT", "/health", "GET, HEAD"],
    ] as const;
    for (const [method, path, allow] of refused) {
      const answer = await fetch(origin + path, { method });
      expect({ path, allow: answer.headers.get("allow") }).toEqual({ path, allow });
      await expectProblem(answer, 405, { title: "Method Not Allowed" });
    }
  });

  it("HEAD answers as GET does, without the body", async () => {
    const { origin } = await start();
    const answer = await fetch(`${origin}/payments`, { method: "HEAD" });
    expect(answer.status).toBe(200);
    expect(await answer.text()).toBe("");
  });
});

describe("shutdown", () => {
  it("SIGTERM lets a running payment finish, and the process exits with 0", async () => {
    const { origin, child } = await start();
    const { payment } = await startPayment(origin, 1_000);
    const exit = stopped(child, "SIGTERM");
    const answer = await payment;
    expect(answer?.status).toBe(201);
    expect(await answer?.json()).toMatchObject({ amount: 1999 });
    expect(await exit).toBe(0);
  });

  it("SIGINT ends an idle server at once, though a client keeps its connection", async () => {
    const { origin, child } = await start();
    await chargesOf(origin);
    expect(await stopped(child, "SIGINT")).toBe(0);
  });

  it.each(["SIGINT", "SIGTERM"] as const)("%s ends what npm start runs, too", async (signal) => {
    const { origin, child } = await startSupervised();
    await chargesOf(origin);
    expect(await stopped(child, signal)).toBe(0);
  });

  it("npm start: a server that is killed as soon as it is up is started again where it was", async () => {
    const { origin } = await startSupervised();
    const isUp = () =>
      chargesOf(origin).then(
        () => true,
        () => false,
      );
    for (let kills = 0; kills < 3; kills += 1) {
      await expect(fetch(`${origin}/crash`, { method: "POST" })).rejects.toThrow("fetch failed");
      await until("it is up again", isUp);
    }
  });

  it("a second signal ends the process at once", async () => {
    const { origin, child } = await start();
    const { payment } = await startPayment(origin, 600_000);
    const exit = stopped(child, "SIGTERM");
    child.kill("SIGINT");
    expect(await exit).toBe(1);
    expect(await payment).toBeUndefined();
  });
});

describe("start", () => {
  it("lists every mistake in the environment at once, without a stack trace", async () => {
    const { code, stderr } = await failedStart({
      PORT: "http",
      IDEMPOTENCY_LEASE_MS: "-1",
      IDEMPOTENCY_TTL_MS: "1e3",
      IDEMPOTENCY_STORE: "redis://user:secret@host:port",
      IDEMPOTENCY_REQUIRE: "1",
    });
    expect(code).toBe(1);
    for (const name of ["PORT", "IDEMPOTENCY_LEASE_MS", "IDEMPOTENCY_TTL_MS"]) {
      expect(stderr).toMatch(new RegExp(`^- ${name} must be`, "m"));
    }
    expect(stderr).toMatch(/^- IDEMPOTENCY_STORE: host 1 must be/m);
    expect(stderr).toMatch(/^- IDEMPOTENCY_REQUIRE is unknown/m);
    expect(stderr).not.toMatch(/^\s+at |secret/m);
  });

  it("refuses a lease that is longer than the TTL", async () => {
    const { code, stderr } = await failedStart({
      IDEMPOTENCY_LEASE_MS: "2000",
      IDEMPOTENCY_TTL_MS: "1000",
    });
    expect(code).toBe(1);
    expect(stderr).toContain(
      "IDEMPOTENCY_LEASE_MS (2000) must not exceed IDEMPOTENCY_TTL_MS (1000)",
    );
  });

  it("refuses memory in production, also where no store is named", async () => {
    const { code, stderr } = await failedStart({ NODE_ENV: "production" });
    expect(code).toBe(1);
    expect(stderr).toContain("IDEMPOTENCY_ALLOW_MEMORY=1");
  });

  it("says that the port is taken", async () => {
    const other = createServer().listen(0, "127.0.0.1");
    await once(other, "listening");
    const { port } = other.address() as AddressInfo;
    const { code, stderr } = await failedStart({ PORT: String(port) });
    other.close();
    expect(code).toBe(1);
    expect(stderr).toContain(`port ${port} of 127.0.0.1: it is taken`);
    expect(stderr).not.toMatch(/^\s+at /m);
  });

  it("lease and TTL reach the store: a response is gone after its TTL", async () => {
    const { origin } = await start({ IDEMPOTENCY_LEASE_MS: "300", IDEMPOTENCY_TTL_MS: "300" });
    const first = await pay(origin, { key: "k" });
    // Asking is all it takes to see the TTL end: replays before, one more charge after.
    let again = await pay(origin, { key: "k" });
    while (again.headers.has("idempotency-replayed")) again = await pay(origin, { key: "k" });
    expect(again.status).toBe(201);
    expect(await again.text()).not.toBe(await first.text());
    expect(await chargesOf(origin)).toBe(2);
  });
});

async function expectProblem(answer: Response | undefined, status: number, members: object) {
  expect(answer?.status).toBe(status);
  expect(answer?.headers.get("content-type")).toBe("application/problem+json");
  expect(await answer?.json()).toMatchObject({ status, ...members });
}
