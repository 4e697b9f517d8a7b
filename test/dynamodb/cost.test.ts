/**
 * What a request costs, by DynamoDB's own account. `docs/dynamodb-cost.md` is this test's output, and the test fails where
 * the page is out of date; `npm run cost:dynamodb` writes it anew.
 */
import { randomUUID } from "node:crypto";
import type { AttributeValue, DynamoDBClient } from "@aws-sdk/client-dynamodb";
import { afterAll, beforeAll, expect, test } from "vitest";
import { acquire, answer, complete, FINGERPRINT, LONG_MS } from "../../src/testing/stage.js";
import type { Lease, Store } from "../../src/index.js";
import { tableOf } from "../layout/readme.js";
import { openStage, storeOn, type Item, type Stage } from "./stage.js";

const KB = 1_024;
const SIZES = [1, 10, 100, 1_024].map((kilobytes) => kilobytes * KB);

let stage: Stage;

beforeAll(async () => {
  stage = await openStage();
}, 120_000);
afterAll(() => stage.close());

interface Units {
  write: number;
  read: number;
}

interface Sent {
  readonly input: object;
}

/** A client that adds up what its requests consume. */
function metered(client: DynamoDBClient) {
  const units: Units = { write: 0, read: 0 };
  const meter = {
    async send(command: never, options?: object): Promise<unknown> {
      Object.assign((command as Sent).input, { ReturnConsumedCapacity: "TOTAL" });
      const isRead = /Get/.test((command as object).constructor.name);
      try {
        const output = (await client.send(command, options)) as { ConsumedCapacity?: unknown };
        for (const { CapacityUnits = 0 } of [output.ConsumedCapacity ?? []].flat() as {
          CapacityUnits?: number;
        }[]) {
          units[isRead ? "read" : "write"] += CapacityUnits;
        }
        return output;
      } catch (error) {
        const { Item: item } = error as { Item?: Item };
        if (item !== undefined) units.write += Math.max(1, Math.ceil(sizeOf(item) / KB));
        throw error;
      }
    },
  };
  const during = async (work: () => Promise<unknown>): Promise<Units> => {
    Object.assign(units, { write: 0, read: 0 });
    await work();
    return { ...units };
  };
  return { meter, during };
}

/** As DynamoDB counts: names in UTF-8, texts too, bytes as they are, numbers by two digits a byte and one more. */
function sizeOf(item: Item): number {
  const size = ({ S = "", N, B }: Partial<Record<"S" | "N", string>> & { B?: Uint8Array }) =>
    Buffer.byteLength(S) + (B?.length ?? 0) + (N === undefined ? 0 : Math.ceil(N.length / 2) + 1);
  return Object.entries(item).reduce(
    (sum, [name, value]) => sum + Buffer.byteLength(name) + size(value as AttributeValue.SMember),
    0,
  );
}

/** The same in every run, and nothing that compresses. */
function noise(bytes: number): Buffer {
  let state = 1;
  return Buffer.from(
    Uint8Array.from({ length: bytes }, () => {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
      return state >>> 24;
    }),
  );
}

/** Orders as an API may list them. */
function json(bytes: number): Buffer {
  const digits = noise(bytes);
  let list = "[";
  for (let at = 0; list.length < bytes; at += 1) {
    const [a = 0, b = 0] = [digits[at], digits[at + 1]];
    list += `{"id":"order-${at}","amount":${a * 256 + b},"currency":"EUR","status":"${a % 2 ? "paid" : "open"}"},`;
  }
  return Buffer.from(`${list.slice(0, bytes - 1)}]`);
}

const BODIES = [
  { kind: "incompressible", make: noise },
  { kind: "JSON", make: json },
];

async function measure(
  kind: string,
  body: Buffer,
  store: Store,
  during: ReturnType<typeof metered>["during"],
) {
  // The same bytes in every run: a token at random could make a compressed record a unit larger.
  const response = answer({ body, timestamp: 1.7e12, expiresAt: 1.7e12 });
  const key = `${kind}-${body.length}`;
  const written: Lease = {
    key,
    token: "token".padEnd(36),
    fingerprint: FINGERPRINT,
    validUntil: 0,
  };
  let lease = written;
  const claim = await during(async () => {
    lease = await acquire(store, randomUUID());
  });
  const renewal = await during(() => store.extend(lease, LONG_MS));
  const duplicate = await during(() => store.lock(lease.key, FINGERPRINT, LONG_MS));
  const record = await during(() => store.set(written, response, LONG_MS));
  const fresh = { write: claim.write + record.write, read: claim.read + record.read };
  const replay = await during(() => store.lock(key, FINGERPRINT, LONG_MS));
  return { name: `${body.length / KB} KB, ${kind}`, fresh, replay, renewal, duplicate };
}

function text({ write, read }: Units): string {
  return [write && `${write} W`, read && `${read} R`].filter(Boolean).join(" + ");
}

test("docs/dynamodb-cost.md says what DynamoDB counts", { timeout: 60_000 }, async () => {
  const { meter, during } = metered(stage.client);
  const store = storeOn(stage, { client: meter });
  // Later claims know the time; the first may have to be corrected.
  await store.get("warm");
  const costs = [];
  for (const { kind, make } of BODIES) {
    for (const size of SIZES) costs.push(await measure(kind, make(size), store, during));
  }

  for (const { name, replay, renewal, duplicate } of costs) {
    expect({ name, renewal, duplicate }).toEqual({
      name,
      renewal: { write: 1, read: 0 },
      duplicate: { write: 1, read: 0 },
    });
    expect(replay.write).toBeLessThanOrEqual(5);
  }
  const large = costs.find(({ name }) => name === "100 KB, incompressible");
  expect(large?.replay).toEqual({ write: 1, read: 26 });

  const rows = costs.map((cost) => [
    cost.name,
    text(cost.fresh),
    text(cost.replay),
    text(cost.renewal),
    text(cost.duplicate),
  ]);
  const page = PAGE.replace(
    "TABLE",
    tableOf([["Response", "First request", "Replay", "Renewal", "While it runs"], ...rows]),
  );
  await expect(page).toMatchFileSnapshot("../../docs/dynamodb-cost.md");
});

test("a read is one of what has been written last: DynamoDB counts a whole unit, not half of one", async () => {
  const { meter, during } = metered(stage.client);
  const store = storeOn(stage, { client: meter });
  const lease = await acquire(store, randomUUID());
  await complete(store, lease);

  expect(await during(() => store.get(lease.key))).toEqual({ write: 0, read: 1 });
});

const PAGE = `# What the DynamoDB store costs

In write units (W, up to 1 KB each) and read units (R, up to 4 KB each, consistent). With
[on-demand billing](https://aws.amazon.com/dynamodb/pricing/on-demand/) a write unit costs as much as five read units.
\`npm run cost:dynamodb\` measures this on DynamoDB Local, by \`ReturnConsumedCapacity\`, and writes this page; a test fails
when it is out of date.

TABLE

- **First request**: a claim, and the record. **Renewal**: every third of \`leaseMs\` while the handler runs. **While it
  runs**: a duplicate that is told 409.
- A replay and a 409 are conditional writes that fail. DynamoDB
  [bills those](https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/read-write-operations.html) by the size of
  the item that stands there, at least one unit. DynamoDB Local reports no capacity for them, so that part is computed from
  the item by this rule.
- A record above \`maxInlineBytes\` (4 KiB, as compressed) lies in chunks: one write unit more when it is stored, and on each
  replay one write unit instead of one for each KB, and read units. A duplicate never pays for the size of the body in write
  units.
- JSON is compressed (brotli) before it is measured against any limit.
- A transaction (\`commit\`) costs
  [twice the units](https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis.html) of its writes.
  This is AWS' word and not measured: DynamoDB Local reports more.
- Deletion by TTL [is free](https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/TTL.html); \`sweep()\` pays for
  reading the whole table and for each deletion.
- The first claim of a process whose clock is wrong is written again, with DynamoDB's time: one write unit, once.
`;
