export type Fate = "pass" | "drop" | "hold";

interface Parcel {
  readonly bytes: Buffer;
  readonly dueAt: number;
}

/** Bytes under way in one direction, in order. */
export class Lane {
  readonly #queue: Parcel[] = [];
  readonly #fate: (bytes: Buffer) => Fate;
  readonly #deliver: (bytes: Buffer) => void;
  readonly #drained: () => void;
  #timer: NodeJS.Timeout | undefined;
  #finished = false;
  /** TCP never loses bytes and goes on: a lane that did must not be used again. */
  lost = false;

  constructor(
    fate: (bytes: Buffer) => Fate,
    deliver: (bytes: Buffer) => void,
    drained: () => void,
  ) {
    this.#fate = fate;
    this.#deliver = deliver;
    this.#drained = drained;
  }

  get waiting(): number {
    return this.#queue.length;
  }

  push(bytes: Buffer, delayMs: number): void {
    this.#queue.push({ bytes, dueAt: performance.now() + delayMs });
    this.pump();
  }

  /** No more will come: says so once everything is delivered. */
  finish(): void {
    this.#finished = true;
    this.pump();
  }

  pump(): void {
    clearTimeout(this.#timer);
    for (let head = this.#queue[0]; head !== undefined; head = this.#queue[0]) {
      const fate = this.#fate(head.bytes);
      if (fate === "hold") return;
      const waitMs = head.dueAt - performance.now();
      if (fate === "pass" && waitMs > 0) {
        this.#timer = setTimeout(() => this.pump(), Math.ceil(waitMs));
        return;
      }
      this.#queue.shift();
      if (fate === "drop") this.lost = true;
      else this.#deliver(head.bytes);
    }
    if (this.#finished) this.#drained();
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#queue.length = 0;
  }
}
