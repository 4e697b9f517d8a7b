/**
 * The clock of a run, in milliseconds: the machine's monotonic one, which all of its processes share and no fault sets.
 */
export function now(): number {
  return Number(process.hrtime.bigint() / 1_000n) / 1_000;
}
