/** Who is measured: the handler bare, a hand-written floor, the kit, its peers. Groups are what is compared. */
export type StoreName = "none" | "memory" | "redis" | "redlock" | "dynamodb";

export type Role = "bare" | "floor" | "kit" | "peer";

export interface SubjectSpec {
  /** Also its file in `subjects/`. */
  readonly name: string;
  readonly title: string;
  readonly store: StoreName;
  readonly role: Role;
}

export interface Group {
  readonly name: string;
  readonly title: string;
  readonly subjects: readonly SubjectSpec[];
}

const BARE: SubjectSpec = { name: "bare", title: "no idempotency", store: "none", role: "bare" };

const KIT_REDIS: SubjectSpec = {
  name: "kit-redis",
  title: "idempotency-kit",
  store: "redis",
  role: "kit",
};

export const GROUPS: readonly Group[] = [
  {
    name: "memory",
    title: "Memory, plain http",
    subjects: [
      BARE,
      { name: "kit-memory", title: "idempotency-kit", store: "memory", role: "kit" },
    ],
  },
  {
    name: "redis",
    title: "Redis, plain http",
    subjects: [
      BARE,
      { name: "floor-redis", title: "hand-written floor", store: "redis", role: "floor" },
      KIT_REDIS,
      {
        name: "kit-redis-cached",
        title: "idempotency-kit, withLocalCache",
        store: "redis",
        role: "kit",
      },
      { name: "peer-powertools-redis", title: "Powertools", store: "redis", role: "peer" },
    ],
  },
  {
    name: "express",
    title: "Redis, Express",
    subjects: [
      { name: "bare-express", title: "no idempotency", store: "none", role: "bare" },
      { name: "kit-express-redis", title: "idempotency-kit", store: "redis", role: "kit" },
      {
        name: "peer-express-idempotency",
        title: "express-idempotency",
        store: "redis",
        role: "peer",
      },
      { name: "peer-node-idempotency", title: "@node-idempotency", store: "redis", role: "peer" },
    ],
  },
  {
    name: "redlock",
    title: "Redis × 3, plain http",
    subjects: [
      { ...KIT_REDIS, title: "idempotency-kit, one Redis" },
      { name: "floor-masters", title: "hand-written floor", store: "redlock", role: "floor" },
      { name: "kit-redlock", title: "idempotency-kit", store: "redlock", role: "kit" },
    ],
  },
  {
    name: "dynamodb",
    title: "DynamoDB Local, plain http",
    subjects: [
      BARE,
      { name: "floor-dynamodb", title: "hand-written floor", store: "dynamodb", role: "floor" },
      { name: "kit-dynamodb", title: "idempotency-kit", store: "dynamodb", role: "kit" },
      { name: "peer-powertools-dynamodb", title: "Powertools", store: "dynamodb", role: "peer" },
    ],
  },
];

export function subjectNamed(name: string): SubjectSpec {
  const found = GROUPS.flatMap(({ subjects }) => subjects).find((spec) => spec.name === name);
  if (found === undefined) throw new Error(`There is no subject '${name}'.`);
  return found;
}
