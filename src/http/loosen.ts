/** Makes a response that a framework has given another prototype cheap to put something over. */

/** That of Node 22 and older. */
const COPIES_LAYOUTS = Number.parseInt(process.versions.v8, 10) < 13;

/**
 * Express gives each response another prototype. To such an object V8, up to version 12, adds a property by copying the layout of
 * all that it has. One that has lost a property is a hash table from then on, even if it gets it back: a protected request to
 * Express takes a third less time.
 */
export function loosen(res: { sendDate: boolean }): void {
  if (!COPIES_LAYOUTS) return;
  const maker = res.constructor as { readonly prototype: unknown } | undefined;
  if (Object.getPrototypeOf(res) === maker?.prototype) return;
  const { sendDate } = res;
  Reflect.deleteProperty(res, "sendDate");
  res.sendDate = sendDate;
}
