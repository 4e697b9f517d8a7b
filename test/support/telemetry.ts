/** Providers of OpenTelemetry that keep what they are told, by the interfaces of its API alone. */
import { randomBytes } from "node:crypto";
import {
  createNoopMeter,
  trace,
  TraceFlags,
  type Attributes,
  type MeterProvider,
  type MetricOptions,
  type Span,
  type SpanStatus,
  type TracerProvider,
} from "@opentelemetry/api";

export interface Measurement {
  readonly name: string;
  readonly value: number;
  readonly attributes: Attributes;
}

export interface KeptSpan {
  readonly name: string;
  readonly parent: string | undefined;
  readonly attributes: Attributes;
  readonly events: { readonly name: string; readonly attributes: unknown }[];
  status: SpanStatus | undefined;
  ended: boolean;
}

export function keepingMeterProvider() {
  const measurements: Measurement[] = [];
  const instruments = new Map<string, MetricOptions & { readonly kind: string }>();
  const keeping =
    (kind: string) =>
    (name: string, options: MetricOptions = {}) => {
      instruments.set(name, { ...options, kind });
      const keep = (value: number, attributes: Attributes = {}) =>
        measurements.push({ name, value, attributes });
      return { add: keep, record: keep };
    };
  const meter = Object.assign(createNoopMeter(), {
    createCounter: keeping("counter"),
    createHistogram: keeping("histogram"),
  });
  const meterProvider: MeterProvider = { getMeter: () => meter };
  return { meterProvider, measurements, instruments };
}

export function keepingTracerProvider() {
  const spans: KeptSpan[] = [];
  const names = new Map<string, string>();
  const startSpan: ReturnType<TracerProvider["getTracer"]>["startSpan"] = (
    name,
    { attributes = {} } = {},
    parent,
  ) => {
    const spanId = randomBytes(8).toString("hex");
    names.set(spanId, name);
    const parentId = parent && trace.getSpan(parent)?.spanContext().spanId;
    const kept: KeptSpan = {
      name,
      parent: parentId && names.get(parentId),
      attributes: { ...attributes },
      events: [],
      status: undefined,
      ended: false,
    };
    spans.push(kept);
    const traceId = randomBytes(16).toString("hex");
    const span = trace.wrapSpanContext({ traceId, spanId, traceFlags: TraceFlags.SAMPLED });
    const overrides: Partial<Span> = {
      setAttributes(more) {
        Object.assign(kept.attributes, more);
        return span;
      },
      addEvent(event, about) {
        kept.events.push({ name: event, attributes: about });
        return span;
      },
      setStatus(status) {
        kept.status = status;
        return span;
      },
      end() {
        kept.ended = true;
      },
    };
    return Object.assign(span, overrides);
  };
  const startActiveSpan = () => {
    throw new Error("This is not used.");
  };
  const tracerProvider: TracerProvider = { getTracer: () => ({ startSpan, startActiveSpan }) };
  return { tracerProvider, spans };
}
