/** `idempotency-kit/otel`: the kit's diagnostics channels as OpenTelemetry metrics and spans. */
import { AsyncLocalStorage } from "node:async_hooks";
import {
  subscribe,
  tracingChannel,
  unsubscribe,
  type TracingChannelSubscribers,
} from "node:diagnostics_channel";
import {
  context,
  metrics,
  SpanStatusCode,
  trace,
  type Attributes,
  type Context,
  type MeterProvider,
  type Span,
  type Tracer,
  type TracerProvider,
} from "@opentelemetry/api";
import {
  EVENT_CHANNEL,
  HANDLER_CHANNEL,
  REQUEST_CHANNEL,
  STORE_CHANNEL,
  type HandlerTrace,
  type IdempotencyEvent,
  type RequestTrace,
  type StoreTrace,
} from "./events.js";
import { custom, parseOptions, type Given } from "./options.js";
import {
  errorOfHandler,
  errorOfRequest,
  errorOfStoreCall,
  instrumentsOf,
  isServerError,
  reasonOf,
  type Failing,
} from "./otel/conventions.js";

interface TelemetrySettings {
  /** Default: the global one, at the time of the call. */
  readonly meterProvider: MeterProvider | undefined;
  /** Default: the global one, at the time of the call. */
  readonly tracerProvider: TracerProvider | undefined;
}

export type TelemetryOptions = Given<TelemetrySettings>;

const SCOPE = "idempotency-kit";

/**
 * Measures all requests that this process handles under keys, by every middleware and store of this copy of the package.
 *
 * Counters `idempotency.requests` and `idempotency.events`; histograms `idempotency.request.duration`,
 * `idempotency.handler.duration` and `idempotency.store.duration`, in seconds. Spans: one for each request, a child of the
 * one that is active then, and below it one for the handler and one for each store call. No attribute holds a key, hashed
 * or not, nor anything of a body or header.
 *
 * Call it once, after the OpenTelemetry SDK has set its providers.
 *
 * @returns A function that ends it.
 * @throws {OptionsError} for what is no provider.
 * @example
 * ```ts
 * import { instrument } from "idempotency-kit/otel";
 *
 * const stop = instrument();
 * process.once("SIGTERM", stop);
 * ```
 */
export function instrument(options?: TelemetryOptions): () => void {
  const { meterProvider, tracerProvider } = parse(options);
  const meter = (meterProvider ?? metrics.getMeterProvider()).getMeter(SCOPE);
  const spans = new Spans((tracerProvider ?? trace.getTracerProvider()).getTracer(SCOPE));
  const { requests, events, requestTime, handlerTime, storeTime } = instrumentsOf(meter);

  const ends = [
    spans.follow<RequestTrace>(
      REQUEST_CHANNEL,
      () => ["idempotency request", {}],
      (message) => {
        const { outcome = "failed", durationMs = 0 } = message;
        const attributes = { "idempotency.outcome": outcome, ...errorOfRequest(message) };
        requests.add(1, attributes);
        requestTime.record(durationMs / 1_000, attributes);
        return attributes;
      },
    ),
    spans.follow<HandlerTrace>(
      HANDLER_CHANNEL,
      () => ["idempotency handler", {}],
      (message) => {
        const attributes = errorOfHandler(message);
        handlerTime.record((message.durationMs ?? 0) / 1_000, attributes);
        return attributes;
      },
    ),
    spans.follow<StoreTrace>(STORE_CHANNEL, startOfStoreCall, (message) => {
      const { operation, outcome, durationMs = 0 } = message;
      const result = {
        ...(outcome !== undefined && { "idempotency.store.outcome": outcome }),
        ...errorOfStoreCall(message),
      };
      storeTime.record(durationMs / 1_000, { "idempotency.store.operation": operation, ...result });
      return result;
    }),
    follow(EVENT_CHANNEL, (message) => {
      const event = message as IdempotencyEvent;
      const attributes = { "idempotency.event": event.type, ...reasonOf(event) };
      events.add(1, attributes);
      spans.active?.addEvent(`idempotency.${event.type}`, reasonOf(event));
    }),
  ];
  return () => {
    for (const end of ends.splice(0)) end();
  };
}

function parse(options: TelemetryOptions | undefined): TelemetrySettings {
  return parseOptions<TelemetrySettings>("instrument", options, {
    meterProvider: custom<MeterProvider | undefined>(
      undefined,
      "a MeterProvider of OpenTelemetry",
      having("getMeter"),
    ),
    tracerProvider: custom<TracerProvider | undefined>(
      undefined,
      "a TracerProvider of OpenTelemetry",
      having("getTracer"),
    ),
  });
}

function having(method: string): (value: unknown) => boolean {
  return (value) => typeof (value as Record<string, unknown> | null)?.[method] === "function";
}

function startOfStoreCall({ operation }: StoreTrace): [string, Attributes] {
  return [`idempotency ${operation}`, { "idempotency.store.operation": operation }];
}

function follow(channel: string, listener: (message: unknown) => void): () => void {
  subscribe(channel, listener);
  return () => {
    unsubscribe(channel, listener);
  };
}

/** Spans of what is traced, each below the one in whose asynchronous context it began. */
class Spans {
  readonly #tracer: Tracer;
  /** Ours, because a subscriber cannot enter the context of OpenTelemetry on behalf of others. */
  readonly #parents = new AsyncLocalStorage<Context>();

  constructor(tracer: Tracer) {
    this.#tracer = tracer;
  }

  get active(): Span | undefined {
    const parent = this.#parents.getStore();
    return parent && trace.getSpan(parent);
  }

  /**
   * @param begin Name and first attributes of a span.
   * @param end Called when it ends; what it answers completes the attributes.
   */
  follow<C extends object>(
    name: string,
    begin: (message: C) => readonly [name: string, attributes: Attributes],
    end: (message: C & Failing) => Attributes,
  ): () => void {
    const channel = tracingChannel<Context, C>(name);
    const spans = new WeakMap<C, Span>();
    const enter = (message: C): Context => {
      const [spanName, attributes] = begin(message);
      const parent = this.#parents.getStore() ?? context.active();
      const span = this.#tracer.startSpan(spanName, { attributes }, parent);
      spans.set(message, span);
      return trace.setSpan(parent, span);
    };
    const asyncEnd = (message: C & Failing): void => {
      const attributes = end(message);
      const span = spans.get(message);
      // What began before the subscription is counted, and has no span.
      if (span === undefined) return;
      span.setAttributes(attributes);
      if (isServerError(attributes)) span.setStatus({ code: SpanStatusCode.ERROR });
      span.end();
    };
    const subscribers = { asyncEnd } as unknown as TracingChannelSubscribers<C>;
    channel.start.bindStore(this.#parents, enter);
    channel.subscribe(subscribers);
    return () => {
      channel.start.unbindStore(this.#parents);
      channel.unsubscribe(subscribers);
    };
  }
}
