/** Mistakes made on purpose: a soak run that does not find these would find no others. */
import { connect, type AddressInfo, type Server } from "node:net";
import type { Leak } from "./settings.js";

/** Some are enough: each takes a port. */
const REQUESTS_PER_SOCKET = 50;

const kept: Buffer[] = [];
let calls = 0;

const LEAK: Readonly<Record<Leak, (server: Server) => void>> = {
  memory: () => void kept.push(Buffer.alloc(16 * 1_024)),
  timer: () => void setTimeout(() => {}, 24 * 60 * 60 * 1_000).unref(),
  listener: (server) => void server.on("drop", () => {}),
  socket: (server) => {
    calls += 1;
    if (calls % REQUESTS_PER_SOCKET === 1) {
      connect((server.address() as AddressInfo).port, "127.0.0.1");
    }
  },
};

export function leak(leaks: readonly Leak[], server: Server): void {
  for (const one of leaks) LEAK[one](server);
}
