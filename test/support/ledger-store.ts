import { CommitRefusedError, type Lease, type Store } from "../../src/index.js";
import { memoryStore } from "../../stores/memory.js";

/** A write of a handler's own: a line of the ledger, refused where its name is taken. */
export interface Line {
  readonly name: string;
}

export interface LedgerStore extends Store {
  readonly commit: NonNullable<Store["commit"]>;
  /** The lines that were committed, in order. */
  readonly ledger: readonly Line[];
}

/** A store with a database in it: the memory store, and a ledger beside it. */
export function ledgerStore(): LedgerStore {
  const store = memoryStore();
  const ledger: Line[] = [];
  const committed = new Set<Lease["token"]>();
  return {
    ...store,
    ledger,
    async commit(lease, response, ttlMs, writes) {
      const held = await store.extend(lease, 60_000);
      // A record decides, whoever's it is; what nobody holds is no longer this lease's.
      if (!held && (await store.get(lease.key)) === undefined) return { state: "lost" };
      const lines = writes as readonly Line[];
      const taken = lines.map(({ name }) => ledger.find((line) => line.name === name));
      if (held && taken.some(Boolean)) throw new CommitRefusedError("A name is taken.", taken);
      const result = await store.set(lease, response, ttlMs);
      if (result.state === "stored" && !committed.has(lease.token)) ledger.push(...lines);
      committed.add(lease.token);
      return result;
    },
  };
}
