/** Invocations without a Lambda: a context whose time runs out by the process's clock. */

export interface Invocation {
  readonly awsRequestId: string;
  getRemainingTimeInMillis(): number;
}

export function invocation(timeoutMs = 30_000): Invocation {
  const endsAt = performance.now() + timeoutMs;
  return {
    awsRequestId: "c6af9ac6-7b61-11e6-9a41-93e8deadbeef",
    getRemainingTimeInMillis: () => Math.max(0, endsAt - performance.now()),
  };
}
