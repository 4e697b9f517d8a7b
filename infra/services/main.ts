/** `node dist/infra/services/main.js [single|masters|cluster|sentinel|dynamodb]`: a server to develop against, without Docker. */
import { startDynamodb } from "./dynamodb.js";
import { startCluster, startMasters, startRedis, startSentinel } from "./redis.js";

interface Service {
  readonly urls: readonly string[];
  close(): Promise<void>;
}

/** As many as survive two dead masters. */
const MASTERS = 5;

const SERVICES: Readonly<Record<string, () => Promise<Service>>> = {
  single: async () => withUrls(await startRedis()),
  masters: () => startMasters(MASTERS),
  cluster: async () => withUrls(await startCluster()),
  sentinel: async () => withUrls(await startSentinel()),
  dynamodb: async () => withUrls(await startDynamodb()),
};

const name = process.argv[2] ?? "single";
const start = SERVICES[name];
if (start === undefined) {
  console.error(`Unknown service '${name}': one of ${Object.keys(SERVICES).join(", ")}.`);
  process.exitCode = 1;
} else {
  await serve(start);
}

function withUrls(one: { readonly url: string; close(): Promise<void> }): Service {
  return { urls: [one.url], close: () => one.close() };
}

async function serve(startService: () => Promise<Service>): Promise<void> {
  const service = await startService();
  console.log(service.urls.join("\n"));
  console.log("Stop with Ctrl-C.");
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.once(signal, () => void service.close());
  }
}
