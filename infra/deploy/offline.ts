/**
 * `node dist/infra/deploy/offline.js`: the packaged Lambda handlers served on this machine, by serverless-offline in
 * front and DynamoDB Local behind. `PORT` is where (0: any free one). `IDEMPOTENCY_STORE` chooses another store.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { createTable } from "../../stores/dynamodb.js";
import { startDynamodb } from "../services/dynamodb.js";
import { freePort, isFree } from "../services/ports.js";
import { bound } from "../services/process.js";
import { serverless } from "./tools.js";

const REGION = "eu-central-1";
const TABLE = "idempotency";
const LAST_PORT = 65_535;

const root = fileURLToPath(new URL("../../..", import.meta.url));
/** DynamoDB Local asks for credentials and takes any. */
const CREDENTIALS = { AWS_ACCESS_KEY_ID: "local", AWS_SECRET_ACCESS_KEY: "local" };

const port = await portOf(process.env["PORT"] || "3000");
const given = process.env["IDEMPOTENCY_STORE"];
const dynamodb = given ? undefined : await startDynamodb();
const store = given || (await tableAt(dynamodb?.url ?? ""));
if (!given) console.log(lookingInto(store));
const [command, args] = bound(process.execPath, [
  await serverless(),
  "offline",
  `--param=store=${store}`,
  `--param=port=${port}`,
  `--param=lambdaPort=${await freePort()}`,
]);
const offline = spawn(command, args, {
  cwd: root,
  stdio: "inherit",
  env: { ...process.env, ...CREDENTIALS, AWS_REGION: REGION },
});
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => offline.kill(signal));
const [code] = (await once(offline, "exit")) as [number | null];
await dynamodb?.close();
process.exitCode = code ?? 0;

/** Told first: what serverless-offline says of a port is a stack trace, when everything else has been started. */
async function portOf(text: string): Promise<number> {
  const number = /^\d{1,5}$/.test(text) ? Number(text) : Number.NaN;
  if (!(number <= LAST_PORT)) return giveUp(`PORT must be an integer from 0 to ${LAST_PORT}.`);
  if (number === 0) return await freePort();
  if (await isFree(number)) return number;
  return giveUp(
    `Cannot listen on port ${number} of 127.0.0.1: it is taken. Set PORT (0: any free one).`,
  );
}

function giveUp(message: string): never {
  console.error(message);
  process.exit(1);
}

/** The store's URL and credentials, as another shell takes them. */
function lookingInto(url: string): string {
  const variables = Object.entries({ IDEMPOTENCY_STORE: url, AWS_REGION: REGION, ...CREDENTIALS });
  const words = variables.map(([name, value]) => `${name}='${value}'`);
  return `\n# To look into its table, in another shell:\nexport ${words.join(" ")}\nnode dist/infra/cli.js list\n`;
}

async function tableAt(endpoint: string): Promise<string> {
  Object.assign(process.env, CREDENTIALS);
  await createTable({ tableName: TABLE, region: REGION, endpoint });
  return `dynamodb://${TABLE}?region=${REGION}&endpoint=${encodeURIComponent(endpoint)}`;
}
