/** From the key that a client sent to the one that a store has. */
import { parseKey, storageKey } from "../../src/key.js";
import { UsageError, type Flags } from "./command.js";

export const KEY_OPTIONS = {
  scope: { type: "string" },
  stored: { type: "boolean" },
} as const;

export const KEY_HELP: readonly string[] = [
  "--scope <scope>  what the option scope gave for the client, for example the tenant",
  "--stored         <key> is as stores and events have it: where keyFunc makes another key",
];

/** What the middleware does to a header: unquoted, then hashed with its scope. */
export function storedKeyOf(text: string, { scope, stored }: Flags): string {
  if (stored === true) {
    if (scope !== undefined) throw new UsageError("--stored and --scope exclude each other.");
    if (!/^[!-~]{1,255}$/.test(text)) throw new UsageError("This is no key of a store.");
    return text;
  }
  const parsed = parseKey([text]);
  if (!parsed.ok) throw new UsageError(parsed.detail);
  return storageKey(parsed.key, typeof scope === "string" ? scope : undefined);
}
