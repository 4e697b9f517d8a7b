/** SQS batches: each record by itself, groups of a FIFO queue in order. */
import { describe, expect, test } from "vitest";
import type { Store } from "../../src/index.js";
import {
  idempotentBatch,
  type GivenBatchOptions,
  type IdempotentContext,
  type LambdaContext,
  type SqsEvent,
  type SqsRecord,
} from "../../src/lambda.js";
import { memoryStore } from "../../stores/memory.js";
import { deferred } from "../support/deferred.js";
import { invocation } from "../support/lambda.js";

const QUEUE = "arn:aws:sqs:us-east-2:123456789012:my-queue";

/** As AWS's page shows it, with our own body and group. */
function record(id: string, group?: string, queue = group === undefined ? QUEUE : `${QUEUE}.fifo`) {
  return {
    messageId: `message-${id}`,
    receiptHandle: "AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a...",
    body: JSON.stringify({ paymentId: id }),
    attributes: {
      ApproximateReceiveCount: "1",
      SentTimestamp: "1545082649183",
      SenderId: "AIDAIENQZJOLO23YVJ4VO",
      ApproximateFirstReceiveTimestamp: "1545082649185",
      MessageGroupId: group,
    },
    messageAttributes: {},
    md5OfBody: "e4e68fb7bd0e697a0ae8f1bb342846b3",
    eventSource: "aws:sqs",
    eventSourceARN: queue,
    awsRegion: "us-east-2",
  };
}

function paymentOf({ body }: SqsRecord): string {
  return (JSON.parse(body) as { paymentId: string }).paymentId;
}

type Options = Partial<GivenBatchOptions<SqsRecord, LambdaContext>>;

/** A consumer that notes what it ran, in order. */
function consumer(
  handle: (id: string) => unknown,
  options: Options = {},
  store: Store = memoryStore(),
) {
  const ran: string[] = [];
  const errors: unknown[] = [];
  const handler = idempotentBatch(
    async (item) => {
      ran.push(paymentOf(item));
      await handle(paymentOf(item));
    },
    store,
    { name: "charge", key: paymentOf, onError: (error) => errors.push(error), ...options },
  );
  const send = async (...Records: SqsRecord[]) => {
    const { batchItemFailures } = await handler({ Records }, invocation());
    return batchItemFailures.map(({ itemIdentifier }) => itemIdentifier.replace("message-", ""));
  };
  return { send, ran, errors };
}

const failing = (...ids: string[]) => {
  return async (id: string) => {
    if (ids.includes(id)) throw new Error(`no ${id}`);
  };
};

test("a record that comes again is done, and does not run", async () => {
  const { send, ran } = consumer(() => new Date());
  expect(await send(record("a"), record("b"))).toEqual([]);
  expect(await send(record("b"), record("c"))).toEqual([]);
  expect(ran).toEqual(["a", "b", "c"]);
});

test("records that fail are reported and told of, the others are done; the next delivery runs those", async () => {
  let isDown = true;
  const { send, ran, errors } = consumer((id) => (isDown ? failing("b", "d")(id) : undefined));
  expect(await send(record("a"), record("b"), record("c"), record("d"))).toEqual(["b", "d"]);
  expect(errors).toEqual([new Error("no b"), new Error("no d")]);
  isDown = false;
  expect(await send(record("a"), record("b"), record("c"), record("d"))).toEqual([]);
  expect(ran).toEqual(["a", "b", "c", "d", "b", "d"]);
});

test("a duplicate that runs elsewhere fails only its own record", async () => {
  const [started, finish] = [deferred(), deferred()];
  const store = memoryStore();
  const slow = consumer(
    () => {
      started.resolve();
      return finish.promise;
    },
    {},
    store,
  );
  const first = slow.send(record("a"));
  await started.promise;
  const { send, errors } = consumer(() => {}, {}, store);

  expect(await send(record("a"), record("b"))).toEqual(["a"]);
  expect(errors).toMatchObject([{ code: "REQUEST_IN_PROGRESS" }]);
  finish.resolve();
  expect(await first).toEqual([]);
  expect(await send(record("a"))).toEqual([]);
});

test("one payment twice in one batch runs once", async () => {
  const { send, ran } = consumer(() => {}, { onConflict: "wait" });
  expect(await send(record("a"), { ...record("a"), messageId: "message-again" })).toEqual([]);
  expect(ran).toEqual(["a"]);
});

test("a record without a key fails alone and does not run", async () => {
  const { send, ran, errors } = consumer(() => {}, {
    key: (item) => (paymentOf(item) === "b" ? undefined : paymentOf(item)),
  });
  expect(await send(record("a"), record("b"))).toEqual(["b"]);
  expect(errors).toMatchObject([{ code: "KEY_MISSING" }]);
  expect(ran).toEqual(["a"]);
});

test("a key function that throws, a store that is down, no time left: records fail, none is lost", async () => {
  const throwing = consumer(() => {}, {
    key: () => {
      throw new SyntaxError("no JSON");
    },
  });
  expect(await throwing.send(record("a"))).toEqual(["a"]);
  const down = consumer(
    () => {},
    {},
    { ...memoryStore(), lock: () => Promise.reject(new Error("down")) },
  );
  expect(await down.send(record("a"), record("b"))).toEqual(["a", "b"]);
  const late = idempotentBatch(() => {}, memoryStore(), {
    name: "charge",
    key: paymentOf,
    onError: () => {},
  });
  expect(await late({ Records: [record("a")] }, invocation(50))).toEqual({
    batchItemFailures: [{ itemIdentifier: "message-a" }],
  });
});

test("P7: no more than `concurrency` records run at once", async () => {
  let [running, most] = [0, 0];
  const { send, ran } = consumer(
    async () => {
      running += 1;
      most = Math.max(most, running);
      await new Promise((resolve) => setImmediate(resolve));
      running -= 1;
    },
    { concurrency: 3 },
  );
  expect(await send(...Array.from({ length: 10 }, (_, i) => record(String(i))))).toEqual([]);
  expect(most).toBe(3);
  expect(ran).toHaveLength(10);
});

describe("a FIFO queue", () => {
  test("runs each group in order, and groups beside each other", async () => {
    const [b1, order] = [deferred(), [] as string[]];
    const { send } = consumer(async (id) => {
      // The first of one group waits for the last of the other.
      if (id === "a1") await b1.promise;
      if (id === "b2") b1.resolve();
      order.push(id);
    });
    await send(record("a1", "a"), record("b1", "b"), record("a2", "a"), record("b2", "b"));
    expect(order).toEqual(["b1", "b2", "a1", "a2"]);
  });

  test("leaves the rest of a group for the next delivery after a failure, and runs the other groups", async () => {
    const { send, ran } = consumer(failing("a2"));
    const records = [record("a1", "a"), record("a2", "a"), record("b1", "b"), record("a3", "a")];
    expect(await send(...records)).toEqual(["a2", "a3"]);
    expect(ran.toSorted()).toEqual(["a1", "a2", "b1"]);
  });

  test("keeps the order of a group while one of it runs elsewhere", async () => {
    const [started, finish] = [deferred(), deferred()];
    const store = memoryStore();
    const slow = consumer(
      () => {
        started.resolve();
        return finish.promise;
      },
      {},
      store,
    );
    const first = slow.send(record("a1", "a"));
    await started.promise;
    const { send, ran } = consumer(() => {}, {}, store);
    expect(await send(record("a1", "a"), record("a2", "a"))).toEqual(["a1", "a2"]);
    expect(ran).toEqual([]);
    finish.resolve();
    await first;
  });

  test("is known by its name: groups of another queue are for fairness, and do not wait", async () => {
    const { send } = consumer(failing("a1"));
    expect(await send(record("a1", "a", QUEUE), record("a2", "a", QUEUE))).toEqual(["a1"]);
  });
});

test("the handler keeps its this and finds its key", async () => {
  const seen: unknown[] = [];
  const service = {
    name: "payments",
    consume: idempotentBatch(
      async function (this: { name: string }, item: SqsRecord, context: IdempotentContext) {
        seen.push(this.name, item.messageId, context.idempotency?.key);
      },
      memoryStore(),
      { name: "charge", key: paymentOf },
    ),
  };
  await service.consume({ Records: [record("a")] }, invocation());
  expect(seen).toEqual(["payments", "message-a", "a"]);
});

test("what is no batch is refused, and so are options that cannot work", async () => {
  const options = { name: "charge", key: paymentOf };
  const handler = idempotentBatch(() => {}, memoryStore(), options);
  await expect(handler({} as SqsEvent, {})).rejects.toMatchObject({ code: "EVENT_UNKNOWN" });
  expect(() => idempotentBatch(() => {}, memoryStore(), { ...options, concurrency: 0 })).toThrow(
    /idempotentBatch: concurrency must be/,
  );
  expect(() => idempotentBatch(undefined as never, memoryStore(), options)).toThrow(/function/);
});
