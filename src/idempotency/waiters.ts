/** Waiting for another request's result: bounded in time and number, asking the store less and less often. */

const FIRST_PAUSE_MS = 50;
const LONGEST_PAUSE_MS = 1_000;

export interface WaitOptions {
  readonly maxWaitMs: number;
  readonly maxWaiters: number;
}

export interface WaitLimits {
  readonly signal: AbortSignal | undefined;
  /** The last moment to ask, on the `performance.now()` clock. */
  readonly latest: number;
}

export class Waiters {
  readonly #options: WaitOptions;
  #waiting = 0;

  constructor(options: WaitOptions) {
    this.#options = options;
  }

  /** Asks until `done`, the time is over, nobody waits any more or too many do already; answers with the last result. */
  async until<T>(
    ask: () => Promise<T>,
    done: (result: T) => boolean,
    { signal, latest }: WaitLimits,
  ): Promise<T> {
    const deadline = Math.min(performance.now() + this.#options.maxWaitMs, latest);
    let result = await ask();
    if (done(result) || this.#waiting >= this.#options.maxWaiters) return result;
    this.#waiting += 1;
    try {
      for (let pauseMs = FIRST_PAUSE_MS; !done(result); pauseMs *= 2) {
        const leftMs = deadline - performance.now();
        if (leftMs <= 0) break;
        await pause(Math.min(jittered(Math.min(pauseMs, LONGEST_PAUSE_MS)), leftMs), signal);
        // Asking may claim the key, and nobody would take the answer.
        if (signal?.aborted === true) break;
        result = await ask();
      }
      return result;
    } finally {
      this.#waiting -= 1;
    }
  }
}

/** Between half and all of it, so that many waiters do not ask in step. */
function jittered(ms: number): number {
  return ms * (0.5 + Math.random() / 2);
}

function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, ms).unref();
    signal?.addEventListener("abort", end, { once: true });
  });
}
