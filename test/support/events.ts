import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { EVENT_CHANNEL, type IdempotencyEvent } from "../../src/index.js";

/** The kit's events while in scope: all of them so far, and a way to wait for the next of a type. */
export interface EventLog extends Disposable {
  readonly types: readonly string[];
  readonly all: readonly IdempotencyEvent[];
  next(type: IdempotencyEvent["type"]): Promise<IdempotencyEvent>;
}

export function listen(): EventLog {
  const all: IdempotencyEvent[] = [];
  const waiting = new Map<string, ((event: IdempotencyEvent) => void)[]>();
  const onEvent = (message: unknown) => {
    const event = message as IdempotencyEvent;
    all.push(event);
    for (const resolve of waiting.get(event.type)?.splice(0) ?? []) resolve(event);
  };
  subscribe(EVENT_CHANNEL, onEvent);
  return {
    all,
    get types() {
      return all.map(({ type }) => type);
    },
    next: (type) =>
      new Promise((resolve) => waiting.set(type, [...(waiting.get(type) ?? []), resolve])),
    [Symbol.dispose]: () => {
      unsubscribe(EVENT_CHANNEL, onEvent);
    },
  };
}
