/** The Lambda front door on any store: what every sender's events go through. */
import { randomBytes, randomUUID } from "node:crypto";
import { describe, expect, test, vi } from "vitest";
import type { Store } from "../../src/index.js";
import { idempotentHandler, type HttpEvent, type IdempotentContext } from "../../src/lambda.js";
import { deferred } from "../support/deferred.js";
import { invocation } from "../support/lambda.js";
import { clientSees, eventOf, KINDS, type Kind, type Sent } from "./gateway.js";

type Run = () => Promise<object>;
type Keyed = (event: HttpEvent, context: IdempotentContext) => Promise<object>;

/** One sender in front of one handler: sends requests and gets what the client sees. */
export function sender(kind: Kind, handler: (event: never, context: never) => Promise<unknown>) {
  return async (sent: Sent) =>
    clientSees(kind, await handler(eventOf(kind, sent) as never, invocation() as never));
}

/** The response of a payment in each sender's own form. */
function paid(kind: Kind, id: string): object {
  const body = JSON.stringify({ id });
  const [type, location] = ["application/json", `/payments/${id}`];
  return kind === "alb-multi"
    ? {
        statusCode: 201,
        multiValueHeaders: { "Content-Type": [type], Location: [location], "X-Tag": ["a", "b"] },
        body,
      }
    : {
        statusCode: 201,
        headers: { "Content-Type": type, Location: location, "X-Count": 1 },
        body,
      };
}

export function lambdaSuite(name: string, makeStore: () => Promise<Store> | Store): void {
  describe.each(KINDS)(`${name}: an event of %s`, (kind) => {
    test("a retry gets the same answer and runs nothing", async () => {
      const run = vi.fn<Run>(async () => paid(kind, randomUUID()));
      const send = sender(kind, idempotentHandler(run, await makeStore()));
      const request = { key: randomUUID(), query: "a=1&a=2&b=x%20y", body: "pay" };

      const first = await send(request);
      const retry = await send(request);

      expect(first).toMatchObject({ status: 201 });
      expect(first.fields).not.toHaveProperty("idempotency-replayed");
      expect(retry).toEqual({
        ...first,
        fields: {
          ...first.fields,
          "idempotency-replayed": ["true"],
          "cache-control": ["no-store"],
        },
      });
      expect(run).toHaveBeenCalledTimes(1);
    });

    test("the first answer is the handler's own object", async () => {
      const own = paid(kind, "p1");
      const handler = idempotentHandler(async () => own, await makeStore());
      expect(await handler(eventOf(kind, { key: randomUUID() }), invocation())).toBe(own);
    });

    test("a duplicate of a running request gets 409", async () => {
      const [started, finish] = [deferred(), deferred()];
      const run = vi.fn<Run>(async () => {
        started.resolve();
        await finish.promise;
        return paid(kind, "p1");
      });
      const send = sender(kind, idempotentHandler(run, await makeStore()));
      const request = { key: randomUUID(), body: "pay" };

      const first = send(request);
      await started.promise;
      const duplicate = await send(request);
      const other = await send({ ...request, body: "pay more" });
      finish.resolve();

      expect(duplicate.status).toBe(409);
      expect(duplicate.fields).toMatchObject({
        "content-type": ["application/problem+json"],
        "retry-after": ["1"],
        "cache-control": ["no-store"],
      });
      expect(JSON.parse(duplicate.body.toString())).toMatchObject({ code: "REQUEST_IN_PROGRESS" });
      expect(other.status).toBe(422);
      expect(await first).toMatchObject({ status: 201 });
      expect(run).toHaveBeenCalledTimes(1);
    });

    test("with onConflict 'wait' a duplicate gets the answer of the first", async () => {
      const [started, finish] = [deferred(), deferred()];
      const handler = idempotentHandler(
        async () => {
          started.resolve();
          await finish.promise;
          return paid(kind, randomUUID());
        },
        await makeStore(),
        { onConflict: "wait" },
      );
      const send = sender(kind, handler);
      const request = { key: randomUUID(), body: "pay" };

      const first = send(request);
      await started.promise;
      const second = send(request);
      finish.resolve();

      expect((await second).body).toEqual((await first).body);
    });

    test("another body, path, query or method under a used key gets 422", async () => {
      const send = sender(
        kind,
        idempotentHandler(async () => paid(kind, "p1"), await makeStore()),
      );
      const request = { key: randomUUID(), query: "a=1", body: "pay" };
      await send(request);

      for (const other of [
        { body: "pay more" },
        { path: "/refunds" },
        { query: "a=2" },
        { method: "PUT" },
      ]) {
        expect(await send({ ...request, ...other })).toMatchObject({ status: 422 });
      }
    });

    test("a required key that is missing or empty gets 400; the handler does not run", async () => {
      const run = vi.fn<Run>(async () => paid(kind, "p1"));
      const send = sender(kind, idempotentHandler(run, await makeStore(), { required: true }));

      expect(await send({})).toMatchObject({ status: 400 });
      expect(await send({ key: "" })).toMatchObject({ status: 400 });
      expect(run).not.toHaveBeenCalled();
    });

    test("without a key, or with another method, the handler runs as it is, and knows no key", async () => {
      const contexts: unknown[] = [];
      const store = await makeStore();
      const handler = idempotentHandler(async (_event, context: IdempotentContext) => {
        contexts.push(context);
        return paid(kind, "p1");
      }, store);
      const context = invocation();

      await handler(eventOf(kind), context);
      await handler(eventOf(kind, { method: "GET", key: randomUUID() }), context);

      expect(contexts).toEqual([context, context]);
      expect(contexts[0]).toBe(context);
    });

    test("a body in base64 is compared by its bytes, and the handler gets the event as it came", async () => {
      const events: unknown[] = [];
      const handler = idempotentHandler(
        async (event: unknown) => {
          events.push(event);
          return paid(kind, "p1");
        },
        await makeStore(),
      );
      const send = sender(kind, handler);
      const [key, bytes] = [randomUUID(), randomBytes(64)];

      await send({ key, body: bytes });
      expect(await send({ key, body: bytes })).toMatchObject({ status: 201 });
      expect(await send({ key, body: bytes.toString("base64") })).toMatchObject({ status: 422 });
      expect(events).toEqual([eventOf(kind, { key, body: bytes })]);
    });

    test("text in base64 is the same request as the text", async () => {
      const send = sender(
        kind,
        idempotentHandler(async () => paid(kind, "p1"), await makeStore()),
      );
      const key = randomUUID();
      await send({ key, body: "päy" });
      expect(await send({ key, body: Buffer.from("päy") })).toMatchObject({ status: 201 });
    });

    test("a body longer than maxBodyBytes gets 413, counted in bytes of the body", async () => {
      const handler = idempotentHandler(async () => paid(kind, "p1"), await makeStore(), {
        maxBodyBytes: 8,
      });
      const send = sender(kind, handler);
      expect(await send({ key: randomUUID(), body: randomBytes(8) })).toMatchObject({
        status: 201,
      });
      expect(await send({ key: randomUUID(), body: randomBytes(9) })).toMatchObject({
        status: 413,
      });
    });

    test("a response of any bytes comes back the same", async () => {
      const bytes = Buffer.concat([Buffer.from([0xff, 0xfe, 0x00]), randomBytes(512)]);
      const headers = { "Content-Type": "image/png" };
      const send = sender(
        kind,
        idempotentHandler(
          async () => ({
            statusCode: 200,
            headers,
            multiValueHeaders: { "Content-Type": ["image/png"] },
            body: bytes.toString("base64"),
            isBase64Encoded: true,
          }),
          await makeStore(),
        ),
      );
      const request = { key: randomUUID() };

      for (const { body, fields } of [await send(request), await send(request)]) {
        expect(body.equals(bytes)).toBe(true);
        expect(fields).toMatchObject({ "content-type": ["image/png"] });
      }
    });

    test("several cookies reach the first client only, unless they are to be stored", async () => {
      const cookies = ["a=1; Path=/", "b=2; Path=/"];
      const [one = "", two = ""] = cookies;
      const forms: Record<Kind, object> = {
        rest: { multiValueHeaders: { "Set-Cookie": cookies } },
        "http-api": { cookies },
        "function-url": { cookies },
        // The two spellings are how a handler gets two lines through one map.
        alb: { headers: { "Set-Cookie": one, "set-cookie": two } },
        "alb-multi": { multiValueHeaders: { "set-cookie": cookies } },
      };
      const run = async () => ({ statusCode: 200, body: "hi", ...forms[kind] });
      const forgetting = sender(kind, idempotentHandler(run, await makeStore()));
      const storing = sender(
        kind,
        idempotentHandler(run, await makeStore(), { storeHeaders: ["Set-Cookie"] }),
      );
      const [forgotten, stored] = [{ key: randomUUID() }, { key: randomUUID() }];

      expect((await forgetting(forgotten)).fields["set-cookie"]).toEqual(cookies);
      expect((await forgetting(forgotten)).fields["set-cookie"]).toBeUndefined();
      expect((await storing(stored)).fields["set-cookie"]).toEqual(cookies);
      expect((await storing(stored)).fields["set-cookie"]).toEqual(cookies);
    });

    test("what the handler throws is thrown, and the key is free again", async () => {
      const error = new Error("card declined");
      const run = vi.fn<Run>().mockRejectedValueOnce(error).mockResolvedValue(paid(kind, "p1"));
      const send = sender(kind, idempotentHandler(run, await makeStore()));
      const request = { key: randomUUID() };

      await expect(send(request)).rejects.toBe(error);
      expect(await send(request)).toMatchObject({ status: 201 });
      expect(run).toHaveBeenCalledTimes(2);
    });

    test("503 and its kind are no results: the next attempt runs", async () => {
      let runs = 0;
      const send = sender(
        kind,
        idempotentHandler(
          async () => {
            runs += 1;
            return { statusCode: runs === 1 ? 503 : 201, body: String(runs) };
          },
          await makeStore(),
        ),
      );
      const request = { key: randomUUID() };

      expect(await send(request)).toMatchObject({ status: 503, body: Buffer.from("1") });
      expect(await send(request)).toMatchObject({ status: 201, body: Buffer.from("2") });
      expect(await send(request)).toMatchObject({ status: 201, body: Buffer.from("2") });
    });

    test("a response longer than maxResponseBytes is sent, and a retry gets 410", async () => {
      const run = vi.fn<Run>(async () => ({ statusCode: 201, body: "x".repeat(101) }));
      const send = sender(
        kind,
        idempotentHandler(run, await makeStore(), { maxResponseBytes: 100 }),
      );
      const request = { key: randomUUID() };

      expect(await send(request)).toMatchObject({
        status: 201,
        body: Buffer.from("x".repeat(101)),
      });
      expect(await send(request)).toMatchObject({ status: 410 });
      expect(run).toHaveBeenCalledTimes(1);
    });

    test("20 duplicates at once in one process: one run, and keys do not mix", async () => {
      const run = vi.fn<Keyed>(async (_event, { idempotency }) => {
        await Promise.resolve();
        return { statusCode: 201, body: idempotency?.key ?? "" };
      });
      const send = sender(kind, idempotentHandler(run, await makeStore(), { onConflict: "wait" }));
      const keys = [randomUUID(), randomUUID()];

      const seen = await Promise.all(
        keys.flatMap((key) =>
          Array.from({ length: 10 }, async () => ({ key, ...(await send({ key })) })),
        ),
      );

      expect(seen.every(({ key, body }) => body.toString() === key)).toBe(true);
      expect(run).toHaveBeenCalledTimes(2);
    });
  });
}
