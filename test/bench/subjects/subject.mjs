/**
 * What all subjects have in common: one small handler, a server, and a line to the benchmark. Plain JavaScript on the
 * built package, as its users run it.
 *
 * POST /200, /10000, /200000   an order in, its receipt out, padded to about that many bytes
 * POST /held                   answers when the benchmark says `release`
 */
import { randomBytes, randomUUID } from "node:crypto";
import { createServer } from "node:http";

export const TTL_MS = 86_400_000;

/** Where the servers are. */
export const services = JSON.parse(process.env.BENCH_SERVICES ?? "{}");

let executions = 0;
const held = [];
const padding = new Map();

/** The receipt of an order: what the client gets, on its first request and on every other. */
export function receipt(order, url) {
  executions += 1;
  const size = Number(url.slice(1)) || 200;
  const frame = { id: randomUUID(), amount: order.amount, note: "" };
  let note = padding.get(size);
  if (note === undefined) {
    const length = size - JSON.stringify(frame).length;
    // Text that hardly shrinks: who compresses what it stores shall not look better than on real data.
    note = randomBytes(length).toString("base64").slice(0, length);
    padding.set(size, note);
  }
  frame.note = note;
  return frame;
}

/** Resolves at once, or for /held when told to. */
export function mayAnswer(url) {
  return url === "/held" ? new Promise((resolve) => held.push(resolve)) : undefined;
}

/** The handler of every subject on plain `node:http`. */
export function handle(req, res) {
  readOrder(req, async (order) => {
    const body = receipt(order, req.url);
    if (req.url === "/held") await mayAnswer(req.url);
    res.writeHead(201, { "Content-Type": "application/json" });
    res.end(JSON.stringify(body));
  });
}

export function readOrder(req, done) {
  let text = "";
  req.setEncoding("utf8");
  req.on("data", (chunk) => (text += chunk));
  req.on("end", () => done(JSON.parse(text)));
}

/** The handler of every subject on Express, behind `express.json()`. */
export async function handleExpress(req, res) {
  // Behind the kit, Express's parser finds no body where the client has gone meanwhile: at the end of each load.
  if (req.body === undefined) {
    res.status(400).end();
    return;
  }
  const body = receipt(req.body, req.url);
  if (req.url === "/held") await mayAnswer(req.url);
  res.status(201).json(body);
}

/** Starts the server, says where, and answers the benchmark's questions. */
export function serve(listener, { commands = {} } = {}) {
  const all = { ...COMMANDS, ...commands };
  const answer = async ({ id, command, args }) => {
    process.send({ id, answer: (await all[command](args)) ?? null });
  };
  process.on("message", (question) => void answer(question));
  // The benchmark is gone: so is what it started.
  process.on("disconnect", () => process.exit());
  const server = createServer(listener);
  server.listen({ port: 0, host: "127.0.0.1", backlog: 16_384 }, () => {
    process.send({ id: 0, answer: { port: server.address().port } });
  });
}

const COMMANDS = {
  usage() {
    const { user, system } = process.cpuUsage();
    return { cpuUs: user + system, executions };
  },
  memory() {
    globalThis.gc();
    globalThis.gc();
    const { heapUsed, external, rss } = process.memoryUsage();
    return { usedBytes: heapUsed + external, rssBytes: rss };
  },
  release() {
    for (const answer of held.splice(0)) answer();
  },
};
