/** What a handler wants to be written together with its response: checked before anything is sent. */
import type { AttributeValue, TransactWriteItem } from "@aws-sdk/client-dynamodb";
import { CommitRefusedError } from "../../src/errors.js";

/** Limits of TransactWriteItems; one of the items is the record's, which is small. */
const MOST_ITEMS = 100;
const MOST_BYTES = 4 * 2 ** 20;

const ACTIONS = ["Put", "Update", "Delete", "ConditionCheck"] as const;
const VALUE_TYPES = new Set(["S", "N", "B", "SS", "NS", "BS", "M", "L", "NULL", "BOOL"]);

type Values = Readonly<Record<string, unknown>>;

/**
 * @throws {CommitRefusedError} for what DynamoDB would refuse anyway, or take for something else.
 */
export function checkedWrites(writes: readonly unknown[]): TransactWriteItem[] {
  if (writes.length > MOST_ITEMS - 1) {
    throw refused(
      `there are ${writes.length} writes, and with the response at most ${MOST_ITEMS - 1} are possible`,
    );
  }
  const bytes = writes.map((write, at) =>
    valuesOf(write, at).reduce((sum, values) => sum + checkedSize(values, at), 0),
  );
  const total = bytes.reduce((sum, size) => sum + size, 0);
  if (total > MOST_BYTES) {
    throw refused(`they have ${total} bytes, and at most ${MOST_BYTES} are possible`);
  }
  return [...writes] as TransactWriteItem[];
}

/** The parts of one write that hold attribute values. */
function valuesOf(write: unknown, at: number): Values[] {
  const given = Object.entries((write ?? {}) as Values).filter(
    ([, action]) => action !== undefined,
  );
  const [name, action] = given[0] ?? [];
  if (given.length !== 1 || !(ACTIONS as readonly unknown[]).includes(name)) {
    throw refused(`writes[${at}] must have exactly one of ${ACTIONS.join(", ")}`);
  }
  const { Item, Key, ExpressionAttributeValues } = (action ?? {}) as Record<string, Values>;
  return [Item, Key, ExpressionAttributeValues].filter((values) => values !== undefined);
}

function checkedSize(values: Values, at: number): number {
  return Object.entries(values).reduce((sum, [name, value]) => {
    if (!isAttributeValue(value)) {
      throw refused(
        `'${name}' in writes[${at}] is not an attribute value such as { S: "text" }: ` +
          "make it one with marshall() of @aws-sdk/util-dynamodb",
      );
    }
    return sum + Buffer.byteLength(name) + sizeOf(value);
  }, 0);
}

function isAttributeValue(value: unknown): value is AttributeValue {
  if (typeof value !== "object" || value === null) return false;
  const present = Object.keys(value).filter((type) => (value as Values)[type] !== undefined);
  return present.length === 1 && VALUE_TYPES.has(present[0] as string);
}

/** As DynamoDB counts; a number takes about a byte for two digits. */
function sizeOf(value: AttributeValue): number {
  const { S, N, B, SS, NS, BS, L, M } = value as Partial<Record<string, never>> & AttributeValue;
  if (S !== undefined) return Buffer.byteLength(S);
  if (N !== undefined) return Math.ceil(N.length / 2) + 1;
  if (B !== undefined) return B.byteLength;
  const list =
    SS?.map((one) => ({ S: one })) ??
    NS?.map((one) => ({ N: one })) ??
    BS?.map((one) => ({ B: one })) ??
    L;
  const entries = list?.map((one) => ["", one] as const) ?? Object.entries(M ?? {});
  return entries.reduce((sum, [name, one]) => sum + 1 + Buffer.byteLength(name) + sizeOf(one), 3);
}

function refused(what: string): CommitRefusedError {
  return new CommitRefusedError(
    `The writes cannot be committed: ${what}. Nothing was written.`,
    [],
  );
}
