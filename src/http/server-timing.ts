/** The option `serverTiming`: what an answer's `Server-Timing` says (W3C Server Timing, section 4). */
import type { ServerResponse } from "node:http";
import { traceOf, type Outcome } from "../idempotency/outcome.js";

/** One request's times: the handler's, and all else that was waited for, which is mostly the store. */
export class ServerTiming {
  readonly #startedAt = performance.now();
  #handlerMs: number | undefined;

  async ofHandler<T>(run: () => Promise<T>): Promise<T> {
    const startedAt = performance.now();
    try {
      return await run();
    } finally {
      this.#handlerMs = performance.now() - startedAt;
    }
  }

  /** Besides what others say there. A head that has left stays as it is. */
  tell(res: ServerResponse, outcome: Outcome): void {
    if (res.headersSent) return;
    const handlerMs = this.#handlerMs ?? 0;
    const kitMs = performance.now() - this.#startedAt - handlerMs;
    const { code, outcome: description } = traceOf(outcome);
    res.appendHeader(
      "Server-Timing",
      `idempotency;desc="${code ?? description}";dur=${kitMs.toFixed(1)}`,
    );
    if (this.#handlerMs === undefined) return;
    res.appendHeader("Server-Timing", `handler;dur=${handlerMs.toFixed(1)}`);
  }
}
