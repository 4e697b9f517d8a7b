/** Single requests, one after the other, for what is counted or timed request by request. */
import { headersFor, ORDER, type Load, type LoadResult, type Target } from "./load.js";
import { spread } from "./statistics.js";

export interface Answered {
  readonly ms: number;
  readonly replayed: boolean;
  readonly body: string;
}

/** @throws {Error} for an answer other than 2xx. */
export async function post(port: number, path: string, key: string): Promise<Answered> {
  const startedAt = performance.now();
  const response = await fetch(`http://127.0.0.1:${port}${path}`, {
    method: "POST",
    headers: headersFor(key),
    body: ORDER,
  });
  const body = await response.text();
  const ms = performance.now() - startedAt;
  if (!response.ok) throw new Error(`${path} answered ${response.status}: ${body.slice(0, 200)}`);
  return { ms, replayed: response.headers.has("idempotency-replayed"), body };
}

/** A load without any other program: too busy itself to measure with, enough to see that everything works. */
export const ONE_BY_ONE: Load = {
  name: "one by one",
  async run({ port, path, kind, key, seconds }: Target): Promise<LoadResult> {
    const until = performance.now() + seconds * 1000;
    const times: number[] = [];
    do {
      const { ms } = await post(port, path, kind === "fresh" ? `${key}${times.length}` : key);
      times.push(ms);
    } while (performance.now() < until);
    const { median, max } = spread(times);
    const requests = times.length;
    return { requests, perSecond: requests / seconds, p50Ms: median, p99Ms: max, errors: 0 };
  },
};
