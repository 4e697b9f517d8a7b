/** A store as it is, with its grants written down, and with the faults of a request at their stages. */
import { AsyncLocalStorage } from "node:async_hooks";
import { setImmediate as nextTurn } from "node:timers/promises";
import type { Store } from "../../../src/store.js";
import type { Journal } from "./journal.js";
import type { Stage, StageFault } from "./request-plan.js";
import { now } from "./time.js";

/** Whose request it is that runs here: each carries its own fault, which strikes once. */
export class Stages {
  readonly #journal: Journal;
  readonly #current = new AsyncLocalStorage<{ fault: StageFault | undefined }>();

  constructor(journal: Journal) {
    this.#journal = journal;
  }

  run<T>(fault: StageFault | undefined, request: () => T): T {
    return this.#current.run({ fault }, request);
  }

  reach(stage: Stage): void {
    const current = this.#current.getStore();
    if (current?.fault?.stage !== stage) return;
    const { does, forMs } = current.fault;
    current.fault = undefined;
    if (does === "die") {
      this.#journal({ type: "dies", at: now(), stage });
      process.kill(process.pid, "SIGKILL");
    }
    this.#journal({ type: "freezes", at: now(), stage, forMs });
    // Neither timers nor sockets, as in a long garbage collection, or with a container that is throttled.
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, forMs);
  }

  /** When what was just asked for has left this process. */
  async sent(stage: Stage): Promise<void> {
    await nextTurn();
    this.reach(stage);
  }
}

export function stagedStore(store: Store, stages: Stages, journal: Journal): Store {
  return {
    ...store,
    async lock(key, fingerprint, leaseMs) {
      const at = now();
      const asked = store.lock(key, fingerprint, leaseMs);
      void stages.sent("lock-sent");
      const result = await asked;
      if (result.state === "acquired") {
        journal({ type: "claimed", at, key, token: result.lease.token });
        stages.reach("locked");
      }
      return result;
    },

    async extend(lease, leaseMs) {
      const at = now();
      const asked = store.extend(lease, leaseMs);
      void stages.sent("extend-sent");
      const held = await asked;
      if (held) journal({ type: "renewed", at, token: lease.token });
      return held;
    },

    async set(lease, response, ttlMs) {
      const asked = store.set(lease, response, ttlMs);
      void stages.sent("set-sent");
      const result = await asked;
      if (result.state === "stored") {
        journal({ type: "stored", at: now(), token: lease.token });
        stages.reach("stored");
      }
      return result;
    },

    async unlock(lease) {
      const asked = store.unlock(lease);
      void stages.sent("unlock-sent");
      await asked;
    },
  };
}
