/** Of the middleware under test: short, so that within minutes every record expires and long handlers renew their leases. */
export const TTL_MS = 2_000;
export const LEASE_MS = 2_000;
export const MAX_HANDLING_MS = 20_000;
export const MAX_RESPONSE_BYTES = 256 * 1_024;
export const MAX_BODY_BYTES = 64 * 1_024;
