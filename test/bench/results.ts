/** All that a run found, as it is written to `docs/performance.json`. */
import type { Conditions } from "./machine.js";
import type { Footprint } from "./measures/footprint.js";
import type { Growth } from "./measures/growth.js";
import type { Bundle } from "./measures/lambda.js";
import type { Row } from "./measures/throughput.js";
import type { Distance, Trips } from "./measures/trips.js";

export interface Results {
  readonly conditions: Conditions;
  readonly load: string;
  readonly rounds: number;
  readonly seconds: number;
  readonly quick: boolean;
  readonly minutes: number;
  /** What could not be measured, and why. */
  readonly failures: readonly string[];
  readonly throughput: readonly Row[];
  readonly trips: readonly Trips[];
  readonly distances: readonly Distance[];
  readonly growth: readonly Growth[];
  readonly footprint: Footprint;
  readonly bundles: readonly Bundle[];
}
