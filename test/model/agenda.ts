/** What is to happen, by time: a binary heap. */

/** What is due at the same moment comes in the order of Node's loop, which a paused process resumes in. */
export const PHASES = { timer: 0, message: 1, immediate: 2 } as const;
export type Phase = keyof typeof PHASES;

export interface Item<Owner> {
  at: number;
  readonly phase: Phase;
  /** Order of arrival, so that nothing is left to chance. */
  readonly order: number;
  readonly owner: Owner;
  readonly run: () => void;
  cancelled: boolean;
}

export class Agenda<Owner> {
  readonly #heap: Item<Owner>[] = [];
  #count = 0;

  add(at: number, phase: Phase, owner: Owner, run: () => void): Item<Owner> {
    const item = { at, phase, order: this.#count, owner, run, cancelled: false };
    this.#count += 1;
    this.put(item);
    return item;
  }

  put(item: Item<Owner>): void {
    const heap = this.#heap;
    let at = heap.length;
    heap.push(item);
    while (at > 0) {
      const above = (at - 1) >> 1;
      const parent = heap[above] as Item<Owner>;
      if (!isBefore(item, parent)) break;
      heap[at] = parent;
      at = above;
    }
    heap[at] = item;
  }

  next(): Item<Owner> | undefined {
    const heap = this.#heap;
    const [first] = heap;
    const last = heap.pop();
    if (last === undefined || first === last || heap.length === 0) return first;
    let at = 0;
    for (;;) {
      let below = 2 * at + 1;
      if (below >= heap.length) break;
      const [left, right] = [heap[below], heap[below + 1]];
      if (right !== undefined && isBefore(right, left as Item<Owner>)) below += 1;
      const child = heap[below] as Item<Owner>;
      if (!isBefore(child, last)) break;
      heap[at] = child;
      at = below;
    }
    heap[at] = last;
    return first;
  }
}

function isBefore<Owner>(a: Item<Owner>, b: Item<Owner>): boolean {
  if (a.at !== b.at) return a.at < b.at;
  if (a.phase !== b.phase) return PHASES[a.phase] < PHASES[b.phase];
  return a.order < b.order;
}
