/** `node dist/infra/deploy/serverless.js ARGUMENTS`: osls, installed first where it is missing. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { bound } from "../services/process.js";
import { serverless } from "./tools.js";

const root = fileURLToPath(new URL("../../..", import.meta.url));

const [command, args] = bound(process.execPath, [await serverless(), ...process.argv.slice(2)]);
const child = spawn(command, args, { cwd: root, stdio: "inherit" });
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => child.kill(signal));
const [code] = (await once(child, "exit")) as [number | null];
process.exitCode = code ?? 1;
