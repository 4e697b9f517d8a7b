/** Makes requests and responses that a framework has given another prototype cheap to put something over. */

const LOST = Symbol("idempotency-kit.lost");
const KEPT = Symbol("idempotency-kit.kept");

/** That of Node 22 and older. */
const COPIES_LAYOUTS = Number.parseInt(process.versions.v8, 10) < 13;

/**
 * Express gives each request and response another prototype. To such an object V8, up to version 12, adds a property by copying
 * the layout of all that it has. One that has lost a property is a hash table from then on: a protected request to Express
 * takes a third less time.
 */
export function loosen(target: object & { [LOST]?: boolean; [KEPT]?: boolean }): void {
  if (!COPIES_LAYOUTS) return;
  const { constructor } = target as { constructor: { readonly prototype: unknown } };
  if (Object.getPrototypeOf(target) === constructor.prototype) return;
  // Taking back the last property would leave no hole.
  target[LOST] = true;
  target[KEPT] = true;
  Reflect.deleteProperty(target, LOST);
}
