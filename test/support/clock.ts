import { vi } from "vitest";

/** A clock that only moves when told; sockets and promises go on as always. Real again when out of scope. */
export interface Clock extends Disposable {
  advance(ms: number): Promise<void>;
  /** Moves the wall clock alone, as an operator or NTP would. */
  jumpWallClock(ms: number): void;
}

export function fakeClock(): Clock {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance", "Date"] });
  return {
    advance: async (ms) => {
      await vi.advanceTimersByTimeAsync(ms);
    },
    jumpWallClock: (ms) => {
      vi.setSystemTime(Date.now() + ms);
    },
    [Symbol.dispose]: () => {
      vi.useRealTimers();
    },
  };
}
