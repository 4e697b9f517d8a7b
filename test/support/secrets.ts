/** What must stay secret, looked for in all that there is of a value. */
import { expect } from "vitest";

/** Fails where what must stay secret can be reached from a value, by whatever way. */
export function expectNoneOf(secrets: readonly string[], root: unknown): void {
  const seen = new Set<unknown>();
  const look = (value: unknown, path: string): void => {
    if (seen.has(value)) return;
    seen.add(value);
    const text = textOf(value);
    for (const secret of secrets) {
      if (text.includes(secret)) expect.fail(`${path} holds '${secret}': ${text.slice(0, 300)}`);
    }
    if (Buffer.isBuffer(value) || typeof value !== "object" || value === null) return;
    for (const key of Reflect.ownKeys(value)) {
      look(Reflect.get(value, key), `${path}.${String(key)}`);
    }
  };
  look(root, "it");
}

function textOf(value: unknown): string {
  if (Buffer.isBuffer(value)) return value.toString("latin1");
  return typeof value === "string" ? value : "";
}
