/** What can become of bytes that a store keeps: all kinds of damage, as data that fast-check can show and shrink. */
import * as fc from "fast-check";

export type Damage =
  | { readonly kind: "overwritten"; readonly by: Uint8Array }
  | { readonly kind: "cut short"; readonly at: number }
  | { readonly kind: "bits flipped"; readonly bits: readonly number[] }
  | { readonly kind: "of another version"; readonly version: number }
  | { readonly kind: "with more behind it"; readonly bytes: number };

/** Far more than any default limit lets a response be. */
const OVERSIZED_BYTES = 8 * 2 ** 20;

export function anyDamage(oversizedBytes = OVERSIZED_BYTES): fc.Arbitrary<Damage> {
  return fc.oneof(
    fc.record({
      kind: fc.constant("overwritten" as const),
      by: fc.uint8Array({ maxLength: 200 }),
    }),
    fc.record({ kind: fc.constant("cut short" as const), at: fc.nat() }),
    {
      weight: 5,
      arbitrary: fc.record({
        kind: fc.constant("bits flipped" as const),
        bits: fc.array(fc.nat(), { minLength: 1, maxLength: 3 }),
      }),
    },
    fc.record({
      kind: fc.constant("of another version" as const),
      version: fc.integer({ min: 2, max: 255 }),
    }),
    fc.record({
      kind: fc.constant("with more behind it" as const),
      bytes: fc.constantFrom(1, 4_096, oversizedBytes),
    }),
  );
}

/** @param frameAt Where in the bytes a record's frame begins; its second byte is its version. */
export function damaged(bytes: Buffer, damage: Damage, frameAt: number): Buffer {
  switch (damage.kind) {
    case "overwritten":
      return Buffer.from(damage.by);
    case "cut short":
      return bytes.subarray(0, damage.at % bytes.length);
    case "bits flipped":
      return flipped(bytes, damage.bits);
    case "of another version":
      return Buffer.from(bytes).fill(damage.version, frameAt + 1, frameAt + 2);
    case "with more behind it":
      return Buffer.concat([bytes, Buffer.alloc(damage.bytes, 1)]);
    default:
      throw new Error(`Bug! Unknown damage ${JSON.stringify(damage satisfies never)}`);
  }
}

function flipped(bytes: Buffer, bits: readonly number[]): Buffer {
  const copy = Buffer.from(bytes);
  // The same one twice would be no damage.
  for (const bit of new Set(bits.map((any) => any % (bytes.length * 8)))) {
    copy.writeUInt8(copy.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
  }
  return copy;
}
