/** What most kits do, to see it fail: a lock without an owner, and a response that is set whatever stands there. */
import { randomUUID } from "node:crypto";
import type { Redis } from "ioredis";
import type { Argument, Reply } from "./twin.js";
import type { Store } from "../../src/store.js";
import { lockValue, readValue, recordValue } from "../../stores/redis/value.js";

type Command = (...args: Argument[]) => Promise<Reply>;

export function naiveStore(redis: Redis): Store {
  const client = redis as unknown as Record<"getBuffer" | "setBuffer" | "delBuffer", Command>;
  const { getBuffer, setBuffer, delBuffer } = client;
  return {
    async get(key) {
      const found = await getBuffer(key);
      const value = Buffer.isBuffer(found) ? readValue(found) : undefined;
      return value?.kind === "record" ? value.response : undefined;
    },

    async lock(key, fingerprint, leaseMs) {
      const response = await this.get(key);
      if (response !== undefined) return { state: "completed", response };
      const validUntil = performance.now() + leaseMs;
      const lease = { key, token: randomUUID(), fingerprint, validUntil };
      const lock = lockValue(lease.token, leaseMs, fingerprint);
      const taken = await setBuffer(key, lock, "PX", leaseMs, "NX");
      if (taken !== null) return { state: "acquired", lease };
      return { state: "in-progress", retryAfterMs: leaseMs };
    },

    async extend({ key, token, fingerprint }, leaseMs) {
      await setBuffer(key, lockValue(token, leaseMs, fingerprint), "PX", leaseMs);
      return true;
    },

    async set({ key, token }, response, ttlMs) {
      await setBuffer(key, recordValue({ token, response }), "PX", ttlMs);
      return { state: "stored" };
    },

    async unlock({ key }) {
      await delBuffer(key);
    },

    async delete(key) {
      return (await delBuffer(key)) === 1;
    },
  };
}
