/** The payments demo as a process: its settings, its start, its clean shutdown. */
import { randomUUID } from "node:crypto";
import { subscribe } from "node:diagnostics_channel";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import {
  DEFAULT_LEASE_MS,
  EVENT_CHANNEL,
  idempotency,
  OptionsError,
  type Store,
} from "../src/index.js";
import { storeFromEnv } from "../stores/from-env.js";
import { MAX_DELAY_MS } from "./order.js";
import { demoPage } from "./page.js";
import { paymentsService } from "./payments.js";
import { parseSettings, type Settings } from "./settings.js";

/** The slowest payment, and ample time to store its response. */
const MAX_HANDLING_MS = 2 * MAX_DELAY_MS;

/** At shutdown, for clients that have not sent all of their request, or taken all of their answer, by then. */
const LINGER_MS = 5_000;

// Until there is something to close, a signal just ends the process; the first one of a container would ignore it.
const leave = (): never => process.exit(0);
process.once("SIGTERM", leave).once("SIGINT", leave);
try {
  const settings = parseSettings(process.env);
  const store = await storeFromEnv(settings.env);
  process.off("SIGTERM", leave).off("SIGINT", leave);
  start(settings, store);
} catch (error) {
  if (!(error instanceof OptionsError)) throw error;
  giveUp(["Cannot start:", ...error.mistakes].join("\n- "));
}

function start({ host, port, options, storeName }: Settings, store: Store): void {
  const safe = idempotency(store, {
    required: true,
    maxHandlingMs: MAX_HANDLING_MS,
    ...options,
  });
  const { leaseMs = DEFAULT_LEASE_MS } = options;
  const page = demoPage({ store, storeName, leaseMs }, paymentsService(safe));
  const server = createServer((req, res) => {
    // Node keeps an answered connection open for the next request; once the server is closing, none may come.
    res.once("finish", () => {
      if (!server.listening) req.socket.end();
    });
    page.service(req, res);
  });
  onShutdown(async () => {
    const closed = once(server, "close");
    server.close();
    page.close();
    await safe.drain();
    setTimeout(() => server.closeAllConnections(), LINGER_MS).unref();
    await closed;
    await store.close?.();
  });
  subscribe(EVENT_CHANNEL, (event) => console.warn(event));
  server.once("error", ({ code }: NodeJS.ErrnoException) => {
    const why = code === "EADDRINUSE" ? "it is taken" : code;
    giveUp(
      `Cannot listen on port ${port} of ${host}: ${why}. Set PORT (0: any free one) and HOST.`,
    );
  });
  server.listen(port, host, () => {
    const address = server.address() as AddressInfo;
    // For a supervisor that starts the next process where this one was. First: whoever reads the rest may kill it.
    process.send?.({ port: address.port });
    console.log(welcome(address, storeName));
  });
}

/** Runs `close` on the first signal, after which the process ends by itself; a second signal ends it at once. */
function onShutdown(close: () => Promise<void>): void {
  let closing = false;
  const onSignal = (): void => {
    if (closing) process.exit(1);
    closing = true;
    void close();
  };
  process.on("SIGTERM", onSignal).on("SIGINT", onSignal).on("disconnect", onSignal);
  // Who listens to its supervisor is kept alive by that alone, with nothing left to do.
  process.channel?.unref();
}

/** Lines to paste: each does what the comment above it says. */
function welcome({ family, address, port }: AddressInfo, storeName: string): string {
  const origin = `http://${family === "IPv6" ? `[${address}]` : address}:${port}`;
  const key = randomUUID();
  const payment = (amount: number): string =>
    `curl -i ${origin}/payments -H 'Content-Type: application/json' -H 'Idempotency-Key: ${key}' ` +
    `-d '{"amount":${amount},"currency":"EUR"}'`;
  return `Payments demo: ${origin}
Responses are kept in: ${storeName} (IDEMPOTENCY_STORE names another store)

# Open it in a browser to see the kit at work, or paste these.

# A payment: 201.
${payment(1999)}
# The same again, as after a lost answer: the same 201, charged once.
${payment(1999)}
# Another amount under the same key: 422.
${payment(2999)}
# What was charged.
curl -i ${origin}/payments
`;
}

function giveUp(message: string): never {
  console.error(message);
  process.exit(1);
}
