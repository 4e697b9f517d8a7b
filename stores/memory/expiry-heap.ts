/** What an `ExpiryHeap` orders. `place` belongs to the heap. */
export interface Expiring {
  until: number;
  place: number;
}

/**
 * A binary heap with the item that expires first on top. Items know their place in it, so that any of them leaves or
 * moves in O(log n) steps and nothing stale stays behind: what has gone takes no memory until its time would be up.
 */
export class ExpiryHeap<T extends Expiring> {
  readonly #items: T[] = [];

  first(): T | undefined {
    return this.#items[0];
  }

  add(item: T): void {
    this.#settle(item, this.#items.length);
  }

  remove(item: T): void {
    const last = this.#items.pop();
    if (last !== undefined && last !== item) this.#settle(last, item.place);
  }

  /** After a change of its `until`. */
  moved(item: T): void {
    this.#settle(item, item.place);
  }

  /** Fills the free place `at` with `item`, or with what belongs there instead. */
  #settle(item: T, at: number): void {
    let free = at;
    for (let above = this.#above(free); above && above.until > item.until;) {
      const next = above.place;
      this.#put(above, free);
      free = next;
      above = this.#above(free);
    }
    for (let below = this.#below(free); below && below.until < item.until;) {
      const next = below.place;
      this.#put(below, free);
      free = next;
      below = this.#below(free);
    }
    this.#put(item, free);
  }

  #above(place: number): T | undefined {
    return place === 0 ? undefined : this.#items[(place - 1) >> 1];
  }

  /** The one of both children that expires first. */
  #below(place: number): T | undefined {
    const left = this.#items[2 * place + 1];
    const right = this.#items[2 * place + 2];
    return left && right && right.until < left.until ? right : left;
  }

  #put(item: T, place: number): void {
    this.#items[place] = item;
    item.place = place;
  }
}
