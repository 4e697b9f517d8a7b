/** What became of an attempt that was not the last word. */
export interface FailedAttempt {
  /** Of its response, if it had one. */
  readonly status: number | undefined;
  /** Why it had none. */
  readonly error: unknown;
}

/** All attempts are over, and the last one had no response. `cause` is why. */
export class NoResponseError extends Error {
  readonly code = "NO_RESPONSE";
  /** In order. */
  readonly attempts: readonly FailedAttempt[];

  constructor(attempts: readonly FailedAttempt[], afterMs: number) {
    super(
      `There was no response after ${attempts.length} attempts in ${Math.round(afterMs)} ms. Whether the request took ` +
        "effect is unknown: a call with the same key and body finds out, and one with a new key may do it twice.",
      { cause: attempts.at(-1)?.error },
    );
    this.name = "NoResponseError";
    this.attempts = attempts;
  }
}
