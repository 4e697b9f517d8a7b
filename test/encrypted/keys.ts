/** Key rings of two generations. */
import { randomBytes } from "node:crypto";
import type { EncryptionOptions } from "../../stores/encrypted.js";

const first = randomBytes(32);
const second = randomBytes(32);

export const rings = {
  first: { keys: { "2026-11": first }, current: "2026-11" },
  /** Writes with the first, reads both: what every process knows before any writes with the second. */
  prepared: { keys: { "2026-11": first, "2026-12": second }, current: "2026-11" },
  rotated: { keys: { "2026-11": first, "2026-12": second }, current: "2026-12" },
  second: { keys: { "2026-12": second }, current: "2026-12" },
  /** Another key under the first's id. */
  mistaken: { keys: { "2026-11": second }, current: "2026-11" },
} satisfies Record<string, EncryptionOptions>;
