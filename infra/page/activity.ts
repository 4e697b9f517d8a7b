/** What the kit tells of itself, as messages for people who watch. */
import { channel, tracingChannel, type TracingChannelSubscribers } from "node:diagnostics_channel";
import {
  EVENT_CHANNEL,
  REQUEST_CHANNEL,
  STORE_CHANNEL,
  type IdempotencyEvent,
  type RequestTrace,
  type StoreTrace,
} from "../../src/index.js";

/** One step of one request, in the words of the kit's channels. `key` is the hashed one. */
export type Activity =
  | { readonly type: "request-started"; readonly id: number; readonly key: string }
  | ({ readonly type: "request-answered"; readonly id: number } & RequestTrace)
  | ({ readonly type: "store-called" } & StoreTrace)
  | { readonly type: "event"; readonly name: IdempotencyEvent["type"]; readonly key: string };

/** Calls `tell` for every step until the returned function is called. */
export function watchActivity(tell: (activity: Activity) => void): () => void {
  const ids = new WeakMap<RequestTrace, number>();
  let lastId = 0;
  const requests = {
    start(trace) {
      lastId += 1;
      ids.set(trace, lastId);
      tell({ type: "request-started", id: lastId, key: trace.key });
    },
    asyncEnd(trace) {
      const id = ids.get(trace);
      if (id !== undefined) tell({ type: "request-answered", id, ...trace });
    },
  } as TracingChannelSubscribers<RequestTrace>;
  const storeCalls = {
    asyncEnd: (trace) => tell({ type: "store-called", ...trace }),
  } as TracingChannelSubscribers<StoreTrace>;
  const onEvent = (event: unknown) => {
    const { type: name, key } = event as IdempotencyEvent;
    tell({ type: "event", name, key });
  };

  const request = tracingChannel<RequestTrace, RequestTrace>(REQUEST_CHANNEL);
  const store = tracingChannel<StoreTrace, StoreTrace>(STORE_CHANNEL);
  const events = channel(EVENT_CHANNEL);
  request.subscribe(requests);
  store.subscribe(storeCalls);
  events.subscribe(onEvent);
  return () => {
    request.unsubscribe(requests);
    store.unsubscribe(storeCalls);
    events.unsubscribe(onEvent);
  };
}
