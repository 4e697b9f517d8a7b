/** The store contract again, over a network that misbehaves all the time. */
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { storeContract } from "../../src/testing.js";
import { startProxy, type FaultProxy } from "../support/fault-proxy.js";
import { openStage, REGION, runner, underTest, urlOf, type Stage } from "./stage.js";

vi.setConfig({ maxConcurrency: 10, hookTimeout: 120_000, testTimeout: 60_000 });

/** For what only loses time; long enough for a crowd on a busy machine. */
const REQUEST_TIMEOUT_MS = 3_000;

/** Replies are lost for longer than a request waits: some run into their limit, the others into a cut. */
const LOSING_MS = 1_000;
const LOST_AFTER_MS = 800;

interface Fault {
  readonly requestTimeoutMs: number;
  /** Begins it; what it returns ends it. */
  readonly begin: (proxy: FaultProxy) => () => void;
  /** How often it must have struck at least. */
  readonly least: number;
}

let strikes = 0;

const FAULTS: Readonly<Record<string, Fault>> = {
  "is slow": {
    requestTimeoutMs: REQUEST_TIMEOUT_MS,
    least: 1,
    begin(proxy) {
      strikes += 1;
      proxy.delay(20, 20);
      return () => undefined;
    },
  },

  "loses replies": {
    requestTimeoutMs: LOST_AFTER_MS,
    least: 4,
    begin(proxy) {
      const timer = setInterval(() => {
        strikes += 1;
        if (strikes % 2 === 1) proxy.dropReplies();
        else void proxy.heal();
      }, LOSING_MS);
      return () => clearInterval(timer);
    },
  },

  "cuts connections instead of replying": {
    requestTimeoutMs: REQUEST_TIMEOUT_MS,
    least: 50,
    begin(proxy) {
      let seen = 0;
      let isOver = false;
      const everyTenth = () => (seen += 1) % 10 === 0;
      const cut = (): void => {
        if (isOver) return;
        void proxy.cutAfterRequest(everyTenth).then(() => {
          strikes += 1;
          cut();
        });
      };
      cut();
      return () => {
        isOver = true;
      };
    },
  },
};

let stage: Stage;

beforeAll(async () => {
  stage = await openStage();
});
afterAll(() => stage.close());

describe.each(Object.entries(FAULTS))("a network that %s", (_, fault) => {
  let proxy: FaultProxy;
  let stop = (): void => undefined;

  beforeAll(async () => {
    proxy = await startProxy(stage.server.port);
    strikes = 0;
    stop = fault.begin(proxy);
  });
  afterAll(async () => {
    stop();
    await proxy.close();
  });

  const { requestTimeoutMs } = fault;
  storeContract(
    "DynamoDB Local",
    () => underTest(stage, { region: REGION, endpoint: urlOf(proxy), requestTimeoutMs }),
    runner,
  );

  test("the network did misbehave", () => {
    expect(strikes).toBeGreaterThanOrEqual(fault.least);
  });
});
