/** Whatever JavaScript can pass where a value of some sort is expected. */
import * as fc from "fast-check";

/** Limits of what options take, and one beyond each. */
const BOUNDARIES = [
  -1,
  0,
  1,
  99,
  100,
  999,
  1_000,
  1_023,
  1_024,
  2 ** 24,
  2 ** 31 - 1,
  2 ** 31,
  Number.MAX_SAFE_INTEGER,
  2 ** 53,
  Number.NaN,
  Number.POSITIVE_INFINITY,
];

export const anyValue: fc.Arbitrary<unknown> = fc.oneof(
  fc.constantFrom(...BOUNDARIES),
  fc.integer({ min: 0, max: 100_000 }),
  fc.double(),
  fc.string({ unit: "binary" }),
  fc.webUrl(),
  fc.constantFrom(undefined, null, true, false, Symbol("any"), () => "any", Map),
  fc.anything({
    maxDepth: 2,
    withBigInt: true,
    withBoxedValues: true,
    withDate: true,
    withMap: true,
    withNullPrototype: true,
    withObjectString: true,
    withSet: true,
    withSparseArray: true,
    withTypedArray: true,
  }),
);

/** An object with some of these names, each with any value, and now and then a name that nobody knows. */
export function anyOptions(names: readonly string[]): fc.Arbitrary<Record<string, unknown>> {
  const known = fc.dictionary(fc.constantFrom(...names), anyValue, { maxKeys: 4 });
  const none: fc.Arbitrary<Record<string, unknown>> = fc.record({});
  const unknown = fc.dictionary(fc.string({ unit: "binary" }), anyValue, { maxKeys: 1 });
  return fc
    .tuple(known, fc.oneof({ weight: 4, arbitrary: none }, unknown))
    .map(([right, wrong]) => Object.assign(wrong, right));
}
