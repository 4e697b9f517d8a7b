/** Batches of SQS records. */
import { IdempotencyError, OptionsError } from "../errors.js";
import type { Store } from "../store.js";
import {
  BatchDoor,
  parseBatchOptions,
  type GivenBatchOptions,
  type SqsBatchResponse,
  type SqsEvent,
  type SqsRecord,
} from "./batch-door.js";
import type { IdempotentContext, LambdaContext } from "./context.js";

/**
 * Handles each record of an SQS batch once, and reports those that failed as `batchItemFailures`: the event source
 * mapping needs `ReportBatchItemFailures`. A duplicate that runs elsewhere fails only its own record, which comes back
 * when its visibility timeout is over; make that longer than the function's timeout.
 *
 * Records of a FIFO queue run one after the other in each group; after a failure the rest of the group is left for the
 * next delivery. Others run `concurrency` at a time.
 *
 * The key is yours to choose. A message's `messageId` is the same for all deliveries of one message, but a producer that
 * sends again makes another; better is a number of the business in the body, or a FIFO queue's `MessageDeduplicationId`.
 *
 * @param handleRecord Throws or rejects where the record shall come again. What it returns is not kept.
 * @throws {OptionsError} at once, naming every mistake.
 * @example
 * import { idempotentBatch } from "idempotency-kit/lambda";
 * import { memoryStore } from "idempotency-kit/memory";
 *
 * export const handler = idempotentBatch(
 *   async (record) => console.log("charged", record.body),
 *   memoryStore(),
 *   { name: "charge", key: (record) => JSON.parse(record.body).paymentId },
 * );
 */
export function idempotentBatch<This, Item extends SqsRecord = SqsRecord, Context = LambdaContext>(
  handleRecord: (this: This, record: Item, context: Context & IdempotentContext) => unknown,
  store: Store,
  options: GivenBatchOptions<Item, Context>,
): (this: This, event: SqsEvent<Item>, context: Context) => Promise<SqsBatchResponse> {
  if (typeof handleRecord !== "function") {
    throw new OptionsError("idempotentBatch", ["the first argument must be a function"]);
  }
  const parsed = parseBatchOptions(options);
  const batch = new BatchDoor(store, parsed);

  return async function idempotentSqs(this: This, event, context) {
    if (!Array.isArray((event as Partial<SqsEvent> | undefined)?.Records)) {
      throw new IdempotencyError(
        "EVENT_UNKNOWN",
        "This event has no Records: it is no SQS batch. For other events use idempotentFunction.",
      );
    }
    return await batch.answer(event, context, (...args) => Reflect.apply(handleRecord, this, args));
  };
}
