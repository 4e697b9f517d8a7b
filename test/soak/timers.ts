/** Counts timers that are set, unref'd ones too, which `process.getActiveResourcesInfo()` leaves out. */

type Callback = (...args: unknown[]) => void;

/** From now on; answers how many there are. */
export function countTimers(): () => number {
  const live = new Set<unknown>();
  const once = (set: typeof setTimeout) =>
    new Proxy(set, {
      apply(target, self, [callback, ...rest]: [Callback, ...unknown[]]) {
        const timer: unknown = Reflect.apply(target, self, [
          (...args: unknown[]) => {
            live.delete(timer);
            callback(...args);
          },
          ...rest,
        ]);
        live.add(timer);
        return timer;
      },
    });
  const repeated = (set: typeof setInterval) =>
    new Proxy(set, {
      apply(target, self, args) {
        const timer: unknown = Reflect.apply(target, self, args);
        live.add(timer);
        return timer;
      },
    });
  const cleared = <Clear extends typeof clearTimeout>(clear: Clear): Clear =>
    new Proxy(clear, {
      apply(target, self, [timer]) {
        live.delete(timer);
        return Reflect.apply(target, self, [timer]);
      },
    });
  globalThis.setTimeout = once(setTimeout);
  globalThis.setInterval = repeated(setInterval);
  globalThis.clearTimeout = cleared(clearTimeout);
  globalThis.clearInterval = cleared(clearInterval);
  return () => live.size;
}
