/** Results of functions as JSON, or a sentence why they are not what JSON would give back. */

export type JsonText =
  | { readonly ok: true; readonly text: string }
  | { readonly ok: false; readonly why: string };

const JSON_TYPES: ReadonlySet<string> = new Set(["string", "boolean", "number"]);

class NotJson extends Error {}

/**
 * Writes a value whose copy, once read back, is the same: `null`, booleans, finite numbers, strings, and arrays and plain
 * objects of these. A property that is `undefined` is left out; `undefined` itself is the empty text. Everything else
 * would come back as something else (a Date as a string, a Map as `{}`, NaN as `null`) or not at all.
 *
 * @returns What is wrong names the place, never the value.
 */
export function toJson(value: unknown): JsonText {
  if (value === undefined) return { ok: true, text: "" };
  try {
    check(value, "the result", new Set());
    return { ok: true, text: JSON.stringify(value) };
  } catch (error) {
    // Getters may throw anything, and nesting may be deeper than the stack.
    const why = error instanceof NotJson ? error.message : "the result cannot be read";
    return { ok: false, why };
  }
}

/** A copy that shares nothing with others. */
export function fromJson(text: string): unknown {
  return text === "" ? undefined : (JSON.parse(text) as unknown);
}

/** @param around The objects that `value` is in. */
function check(value: unknown, path: string, around: Set<object>): void {
  if (typeof value === "object" && value !== null) checkObject(value, path, around);
  else if (typeof value === "number" && !Number.isFinite(value)) {
    throw new NotJson(`${path} is no finite number`);
  } else if (value !== null && !JSON_TYPES.has(typeof value)) {
    throw new NotJson(`${path} is of type ${typeof value}`);
  }
}

function checkObject(value: object, path: string, around: Set<object>): void {
  if (around.has(value)) throw new NotJson(`${path} contains itself`);
  around.add(value);
  if (Array.isArray(value)) {
    // By index: a hole would come back as null.
    for (let i = 0; i < value.length; i += 1) check(value[i], `${path}[${i}]`, around);
  } else {
    checkPlain(value, path);
    for (const [name, property] of Object.entries(value)) {
      if (property !== undefined) check(property, `${path}.${name}`, around);
    }
  }
  around.delete(value);
}

function checkPlain(value: object, path: string): void {
  const prototype: unknown = Object.getPrototypeOf(value);
  // By the prototype's own prototype: plain objects of another realm are plain too.
  const isPlain = prototype === null || Object.getPrototypeOf(prototype) === null;
  if (!isPlain) throw new NotJson(`${path} is an instance of ${value.constructor.name}`);
  if (typeof (value as { toJSON?: unknown }).toJSON === "function") {
    throw new NotJson(`${path} has a toJSON method`);
  }
  if (Object.getOwnPropertySymbols(value).length > 0) {
    throw new NotJson(`${path} has properties named by symbols`);
  }
}
