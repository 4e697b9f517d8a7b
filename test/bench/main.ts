/**
 * `npm run bench`: the kit beside a handler without it, a hand-written floor, and its peers.
 *
 *     npm run bench                          everything; writes docs/performance.*
 *     npm run bench -- --quick               the same in short, for whoever works on it
 *     npm run bench -- --only redis,units    what has one of these in its name; writes nothing
 *     npm run bench -- --rounds 9 --seconds 5
 */
import type { Bench } from "./bench.js";
import { findLoad } from "./load.js";
import { conditions, leaveFirstCore } from "./machine.js";
import { measureFootprint } from "./measures/footprint.js";
import { measureGrowth } from "./measures/growth.js";
import { measureLambda } from "./measures/lambda.js";
import { measureThroughput } from "./measures/throughput.js";
import { countTrips, measureDistance } from "./measures/trips.js";
import { installPeers } from "./peers.js";
import { publish } from "./publish.js";
import { report } from "./report.js";
import type { Results } from "./results.js";
import { Services } from "./services.js";
import { parseSettings } from "./settings.js";

const settings = parseSettings(process.argv.slice(2));
const started = conditions();
const startedAt = performance.now();
leaveFirstCore();
await installPeers();
const services = new Services();
try {
  await services.start(new Set(["redis", "redlock", "dynamodb"]));
  const load = await findLoad();
  const failures: string[] = [];
  const failed = (what: string, error: unknown): void => {
    failures.push(`${what}: ${error instanceof Error ? error.message : String(error)}`);
    progress(`FAILED ${failures.at(-1)}`);
  };
  const shared: Bench = { settings, services, load, progress, failed };
  /** One that breaks costs its own figures only, and says so. */
  const attempt = async <T>(name: string, none: T, measure: (bench: Bench) => Promise<T>) => {
    try {
      return await measure(shared);
    } catch (error) {
      failed(name, error);
      return none;
    }
  };
  const measured = {
    throughput: await attempt("throughput", [], measureThroughput),
    trips: await attempt("trips", [], countTrips),
    distances: await attempt("distance", [], measureDistance),
    growth: await attempt("growth", [], measureGrowth),
    footprint: await attempt("footprint", { inFlight: [], units: [] }, measureFootprint),
    bundles: await attempt("lambda", [], measureLambda),
  };
  const { rounds, seconds, quick, only } = settings;
  const minutes = Math.round((performance.now() - startedAt) / 60_000);
  const results: Results = {
    conditions: started,
    load: load.name,
    rounds,
    seconds,
    quick,
    minutes,
    failures,
    ...measured,
  };
  console.log(`\n${report(results)}`);
  if (only.length === 0) await publish(results);
} finally {
  await services.close();
}

function progress(text: string): void {
  const seconds = Math.round((performance.now() - startedAt) / 1000);
  console.log(
    `${String(Math.floor(seconds / 60)).padStart(3)}:${String(seconds % 60).padStart(2, "0")}  ${text}`,
  );
}
