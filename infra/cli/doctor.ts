/** `doctor`: is this environment fit for use? */
import { protocolRules } from "../../src/idempotency/options.js";
import { IdempotencyError } from "../../src/index.js";
import { readEnvironment, type Environment } from "../../stores/from-env/environment.js";
import type { NodeReport, StoreLevel } from "../../stores/from-env/open.js";
import { EXIT, type Command, type ExitCode, type Result } from "./command.js";
import { columns, counted, milliseconds } from "./print.js";
import { probe, type Latency } from "./probe.js";
import { withStore } from "./with-store.js";

const LEVELS: Readonly<Record<StoreLevel, string>> = {
  "power-safe": "records outlive a power failure",
  "crash-safe": "records outlive a crash of the server; a power failure may take the last seconds",
  "failover-lossy": "a failover may take the last moments before it",
  unknown: "what becomes of records is not known",
  forgetful: "a restart or a full memory may take all records",
};

/** From the best to the worst. */
const RANKS = Object.keys(LEVELS) as StoreLevel[];

/** The difference of two clocks that nobody needs to look into: half a second is what DynamoDB's dates leave open. */
const MAX_SKEW_MS = 1_000;

/** A lease is renewed every third of it; a call that takes a tenth leaves room for two that fail. */
const CALLS_PER_LEASE = 10;

interface Findings {
  readonly errors: readonly string[];
  readonly warnings: readonly string[];
}

export const doctor: Command = {
  usage: "doctor",
  summary: "checks the variables, reaches the store, and says what it promises",
  help: ["--strict         warnings count as findings (exit code 1)"],
  options: { strict: { type: "boolean" } },
  positionals: 0,
  run: async ({ flags, env }) => {
    const environment = readEnvironment(env);
    return await withStore(environment, async (opened, unreachable) => {
      // Who cannot be reached has nothing to tell.
      const isLost =
        unreachable.length > 0 && unreachable.length === environment.target.names.length;
      // Before the probe: a replica that is asked to write is left at once, for its master.
      const nodes = isLost ? [] : await opened.examine();
      const latency = await probe(opened.store).catch((error: unknown) => error as Error);
      const findings = findingsOf(environment, nodes, unreachable, latency);
      const exitCode = exitCodeOf(findings, latency, flags["strict"] === true);
      return resultOf(environment, nodes, latency, findings, exitCode);
    });
  },
};

function findingsOf(
  { middlewareOptions, idle }: Environment,
  nodes: readonly NodeReport[],
  unreachable: readonly string[],
  latency: Latency | Error,
): Findings {
  const named = (node: NodeReport, text: string): string =>
    nodes.length > 1 ? `${node.node}: ${text}` : text;
  const of = (kind: keyof Findings): string[] =>
    nodes.flatMap((node) => node[kind].map((text) => named(node, text)));
  const skewed = nodes
    .filter(({ clockSkewMs = 0 }) => Math.abs(clockSkewMs) > MAX_SKEW_MS)
    .map((node) =>
      named(
        node,
        `Its clock and this machine's are ${Math.abs(node.clockSkewMs ?? 0)} ms apart: let NTP set both.`,
      ),
    );
  // What cannot be reached says why, and better.
  const failed = latency instanceof Error && unreachable.length === 0 ? [latency.message] : [];
  const { leaseMs = protocolRules().leaseMs.fallback } = middlewareOptions;
  const slow =
    !(latency instanceof Error) && latency.lock * CALLS_PER_LEASE > leaseMs
      ? [
          `A call takes ${milliseconds(latency.lock)}: raise IDEMPOTENCY_LEASE_MS to ten times that.`,
        ]
      : [];
  const unused = idle.map((name) => `${name} is set, and this store has no use for it.`);
  return {
    errors: [...new Set([...unreachable, ...failed, ...of("errors")])],
    warnings: [...of("warnings"), ...skewed, ...slow, ...unused],
  };
}

function exitCodeOf(
  { errors, warnings }: Findings,
  latency: Latency | Error,
  isStrict: boolean,
): ExitCode {
  // A quorum that lost a minority works, and is a finding; a store that nobody can use is out of reach.
  if (latency instanceof IdempotencyError) return EXIT.unreachable;
  return errors.length > 0 || (isStrict && warnings.length > 0) ? EXIT.findings : EXIT.ok;
}

function resultOf(
  { target, middlewareOptions }: Environment,
  nodes: readonly NodeReport[],
  latency: Latency | Error,
  { errors, warnings }: Findings,
  exitCode: ExitCode,
): Result {
  const worst = Math.max(...nodes.map(({ level }) => RANKS.indexOf(level)));
  const level = RANKS[worst] ?? "unknown";
  const medians = latency instanceof Error ? undefined : latency;
  const settings = Object.entries(middlewareOptions).map(([name, value]) => `${name} ${value}`);
  const rows = [
    ["Store", [target.kind, ...target.names].join(" ")],
    ["Level", `${level}: ${LEVELS[level]}`],
    ["Latency", medians === undefined ? "not measured" : medianText(medians)],
    ["Clocks", nodes.map(skewText).join(", ") || "not told"],
    ["Options", settings.join(", ") || "none: those of the code"],
    ...errors.map((text) => ["Error", text] as const),
    ...warnings.map((text) => ["Warning", text] as const),
    ["Verdict", verdict(exitCode, errors.length, warnings.length)],
  ] as const;
  return {
    exitCode,
    json: {
      ok: exitCode === EXIT.ok,
      store: target.kind,
      level,
      nodes: nodes.map(({ node, level: ofNode, clockSkewMs }) => ({
        node,
        level: ofNode,
        clockSkewMs: clockSkewMs ?? null,
      })),
      latencyMs: medians ?? null,
      options: middlewareOptions,
      errors,
      warnings,
    },
    text: columns(rows),
  };
}

function medianText(medians: Latency): string {
  const verbs = Object.entries(medians).map(
    ([verb, ms]) => `${verb} ${milliseconds(ms as number)}`,
  );
  return `${verbs.join(", ")} (medians)`;
}

function skewText({ clockSkewMs }: NodeReport): string {
  if (clockSkewMs === undefined) return "not told";
  return `${clockSkewMs < 0 ? "-" : "+"}${milliseconds(Math.abs(clockSkewMs))}`;
}

function verdict(exitCode: ExitCode, errors: number, warnings: number): string {
  if (exitCode === EXIT.unreachable)
    return "the store cannot be used: check IDEMPOTENCY_STORE and the server";
  const counts = `${counted(errors, "error")}, ${counted(warnings, "warning")}`;
  return exitCode === EXIT.ok ? `ready (${counts})` : counts;
}
