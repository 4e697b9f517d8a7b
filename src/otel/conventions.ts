/** Names, units and values, as OpenTelemetry's semantic conventions want them. */
import type { Attributes, Counter, Histogram, Meter } from "@opentelemetry/api";
import type { IdempotencyEvent, RequestTrace } from "../events.js";

/** In seconds; those that the conventions advise for `http.server.request.duration`, and longer ones for slow handlers. */
const REQUEST_BUCKETS = [
  0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 30, 60, 300,
];
/** A store in the same building answers in less than a millisecond, and its calls are limited to seconds. */
const STORE_BUCKETS = [
  0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10,
];

export interface Instruments {
  readonly requests: Counter;
  readonly events: Counter;
  readonly requestTime: Histogram;
  readonly handlerTime: Histogram;
  readonly storeTime: Histogram;
}

export function instrumentsOf(meter: Meter): Instruments {
  const seconds = (name: string, description: string, buckets: number[]): Histogram =>
    meter.createHistogram(name, {
      description,
      unit: "s",
      advice: { explicitBucketBoundaries: buckets },
    });
  return {
    requests: meter.createCounter("idempotency.requests", {
      description: "Requests with a key, by how they were answered.",
      unit: "{request}",
    }),
    events: meter.createCounter("idempotency.events", {
      description: "What an operator may have to know.",
      unit: "{event}",
    }),
    requestTime: seconds(
      "idempotency.request.duration",
      "From the claim of a key until its request can be answered.",
      REQUEST_BUCKETS,
    ),
    handlerTime: seconds(
      "idempotency.handler.duration",
      "How long handlers ran under a key.",
      REQUEST_BUCKETS,
    ),
    storeTime: seconds(
      "idempotency.store.duration",
      "How long calls of the store took.",
      STORE_BUCKETS,
    ),
  };
}

/** `tracePromise` adds what a promise was rejected with. */
export interface Failing {
  readonly error?: unknown;
}

/** The kit's codes are few and stable, so they may be values of an attribute. */
export function errorOfRequest({ outcome, code }: RequestTrace): Attributes {
  if (outcome === "failed") return { "error.type": "HANDLER_FAILED" };
  return code === undefined ? {} : { "error.type": code };
}

export function errorOfHandler({ error }: Failing): Attributes {
  // A handler's errors are its own, and their names could be without end.
  return error === undefined ? {} : { "error.type": "HANDLER_FAILED" };
}

export function errorOfStoreCall({ error }: Failing): Attributes {
  if (error === undefined) return {};
  const { code = "_OTHER" } = error as { readonly code?: string };
  return { "error.type": code };
}

/** Errors that clients make are none of the server (semantic conventions for HTTP spans). */
export function isServerError(attributes: Attributes): boolean {
  const type = attributes["error.type"];
  return typeof type === "string" && !CLIENTS.has(type);
}

const CLIENTS: ReadonlySet<string> = new Set([
  "KEY_REUSED",
  "REQUEST_IN_PROGRESS",
  "RESPONSE_NOT_KEPT",
]);

export function reasonOf(event: IdempotencyEvent): Attributes {
  if ("reason" in event) return { "idempotency.reason": event.reason };
  if ("state" in event) return { "idempotency.reason": event.state };
  return "hook" in event ? { "idempotency.reason": event.hook } : {};
}
