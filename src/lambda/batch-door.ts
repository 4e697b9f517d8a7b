/** SQS: every record of a batch by itself, in order where the queue has one. */
import { callback, integer, parseOptions, type Given, type OptionRules } from "../options.js";
import type { Store } from "../store.js";
import {
  functionRelations,
  functionRules,
  FunctionDoor,
  type FunctionOptions,
  type GivenFunctionOptions,
} from "./function-door.js";

/** What is read of a record. */
export interface SqsRecord {
  readonly messageId: string;
  readonly body: string;
  readonly eventSourceARN: string;
  readonly attributes: { readonly MessageGroupId?: string | undefined };
}

export interface SqsEvent<Item extends SqsRecord = SqsRecord> {
  readonly Records: readonly Item[];
}

/** The records that SQS shall deliver again; the others are done. */
export interface SqsBatchResponse {
  batchItemFailures: { itemIdentifier: string }[];
}

export interface BatchOptions<Item extends SqsRecord, Context> extends FunctionOptions<
  [record: Item, context: Context]
> {
  /** How many records, or groups of a FIFO queue, are handled at once. Default: 10. */
  readonly concurrency: number;
  /** Told of every record that failed, and why. Default: `console.error`. */
  readonly onError: (error: unknown, record: Item) => void;
}

/** Options as users write them: `name` and `key`, and what else differs from its default. */
export type GivenBatchOptions<Item extends SqsRecord, Context> = GivenFunctionOptions<
  [record: Item, context: Context]
> &
  Given<Pick<BatchOptions<Item, Context>, "concurrency" | "onError">>;

/** As many records as SQS puts in a batch unless told otherwise. */
const DEFAULT_CONCURRENCY = 10;

/** @throws {OptionsError} naming every mistake. */
export function parseBatchOptions<Item extends SqsRecord, Context>(
  given: GivenBatchOptions<Item, Context>,
): BatchOptions<Item, Context> {
  const rules: OptionRules<BatchOptions<Item, Context>> = {
    ...functionRules<[record: Item, context: Context]>(given),
    concurrency: integer(DEFAULT_CONCURRENCY, 1, 10_000),
    onError: callback((error) => console.error(error)),
  };
  return parseOptions<BatchOptions<Item, Context>>("idempotentBatch", given, rules, (options) =>
    functionRelations(given, options),
  );
}

export class BatchDoor<Item extends SqsRecord, Context> {
  readonly #door: FunctionDoor<[record: Item, context: Context]>;
  readonly #options: BatchOptions<Item, Context>;

  constructor(store: Store, options: BatchOptions<Item, Context>) {
    this.#door = new FunctionDoor(store, options);
    this.#options = options;
  }

  /** Resolves when every record is done or has failed; never rejects. */
  async answer(
    { Records: records }: SqsEvent<Item>,
    context: Context,
    handle: (record: Item, context: Context) => unknown,
  ): Promise<SqsBatchResponse> {
    const failed = new Set<Item>();
    const lanes = lanesOf(records).values();
    const worker = async () => {
      // Workers take from one iterator: each lane goes to one of them.
      for (const lane of lanes) await this.#runLane(lane, context, handle, failed);
    };
    const { concurrency } = this.#options;
    await Promise.all(Array.from({ length: Math.min(concurrency, records.length) }, worker));
    const failures = records.filter((record) => failed.has(record));
    return {
      batchItemFailures: failures.map(({ messageId }) => ({ itemIdentifier: messageId })),
    };
  }

  /** One after the other; after a failure the rest is left for the next delivery, or it would overtake what failed. */
  async #runLane(
    lane: readonly Item[],
    context: Context,
    handle: (record: Item, context: Context) => unknown,
    failed: Set<Item>,
  ): Promise<void> {
    for (const [at, record] of lane.entries()) {
      try {
        await this.#door.call([record, context], async (...args) => {
          // Nobody reads what becomes of a record but that it was handled.
          await handle(...args);
        });
      } catch (error) {
        for (const left of lane.slice(at)) failed.add(left);
        this.#tell(error, record);
        return;
      }
    }
  }

  #tell(error: unknown, record: Item): void {
    try {
      this.#options.onError(error, record);
    } catch (failure) {
      // The record is reported as failed all the same.
      process.emitWarning(failure instanceof Error ? failure : String(failure));
    }
  }
}

/** Groups of a FIFO queue keep their order; a group name on another queue is for fairness, and says nothing of order. */
function lanesOf<Item extends SqsRecord>(records: readonly Item[]): Item[][] {
  const lanes: Item[][] = [];
  const groups = new Map<string, Item[]>();
  for (const record of records) {
    const { eventSourceARN, attributes } = record;
    const group = eventSourceARN.endsWith(".fifo") ? (attributes.MessageGroupId ?? "") : undefined;
    const lane = group === undefined ? undefined : groups.get(group);
    if (lane !== undefined) lane.push(record);
    else {
      const opened = [record];
      lanes.push(opened);
      if (group !== undefined) groups.set(group, opened);
    }
  }
  return lanes;
}
