/** What the tests of the DynamoDB store stand on. */

// What a store's own client sends, and DynamoDB Local does not check.
process.env["AWS_ACCESS_KEY_ID"] ??= "anyone";
process.env["AWS_SECRET_ACCESS_KEY"] ??= "anything";

/** Slow machines and many tests at once: only what hangs shall run into a limit. */
export const PATIENT = { timeoutMs: 15_000, requestTimeoutMs: 5_000 };
