/** What a client asks for, and how the service is to answer it. */

/** How an execution ends. */
export interface RequestPlan {
  /** `stream`: in many parts, with a pause between them; `events`: as an event stream. */
  readonly end: "pay" | "stream" | "events" | "refuse" | "throw";
  readonly workMs: number;
  readonly bytes: number;
}

/** Carries the plan; headers do not count in a fingerprint. */
export const PLAN_HEADER = "x-plan";

/** One middleware answers a duplicate of a running request at once, the other lets it wait. */
export const PATHS = { reject: "/payments", wait: "/patient" } as const;
