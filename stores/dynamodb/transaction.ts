/** A record and the handler's own writes in one transaction: all of them or none. */
import { randomUUID } from "node:crypto";
import {
  TransactWriteItemsCommand,
  type CancellationReason,
  type Put,
  type TransactWriteItem,
} from "@aws-sdk/client-dynamodb";
import { CommitRefusedError } from "../../src/errors.js";
import { backOff, type Calls, type Deadline } from "./calls.js";
import { readItem, type Found } from "./item.js";

type Cancelled = Error & { readonly CancellationReasons?: readonly CancellationReason[] };

/** Not the fault of a write, and over in a moment. */
const PASSING = new Set([
  "TransactionConflict",
  "ProvisionedThroughputExceeded",
  "ThrottlingError",
]);

/**
 * Writes all or nothing. Where it is the record's condition that was not met, tells what stands there instead of it, if
 * anything.
 *
 * @throws {CommitRefusedError} where the conditions of the handler's own writes were not met.
 */
export async function transact(
  calls: Calls,
  record: Put,
  writes: TransactWriteItem[],
  deadline: Deadline,
): Promise<"completed" | Found | undefined> {
  for (let attempt = 1; ; attempt += 1) {
    // For ten minutes a repetition with this token is answered like the first, and writes nothing. After that, and for
    // another call with the same lease, the record's own condition sees to it. A cancelled transaction gets a new one.
    const input = { TransactItems: [{ Put: record }, ...writes], ClientRequestToken: randomUUID() };
    try {
      await calls.send(TransactWriteItemsCommand, input, deadline, true);
      return "completed";
    } catch (error) {
      const { name, message, CancellationReasons: reasons = [] } = error as Cancelled;
      // Refused as a whole, because an expression is wrong or two writes are of one item.
      if (name === "ValidationException") throw refused(message, []);
      const [own, ...theirs] = reasons;
      if (own?.Code === "ConditionalCheckFailed") return own.Item && readItem(own.Item);
      if (theirs.some(isRefusal)) throw refused(theirs.map(({ Code }) => Code).join(", "), theirs);
      if (own === undefined || isRefusal(own) || !(await backOff(attempt, deadline))) throw error;
    }
  }
}

function isRefusal({ Code: code = "None" }: CancellationReason): boolean {
  return code !== "None" && !PASSING.has(code);
}

function refused(why: string, reasons: readonly CancellationReason[]): CommitRefusedError {
  return new CommitRefusedError(
    `DynamoDB refused the writes, so that nothing was written, and no response stored: ${why}`,
    reasons.map((reason) => (isRefusal(reason) ? reason : undefined)),
  );
}
