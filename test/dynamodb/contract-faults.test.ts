/** The store contract again, over a network that misbehaves all the time. */
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { storeContract } from "../../src/testing.js";
import { startProxy, type FaultProxy } from "../support/fault-proxy.js";
import { openStage, REGION, runner, underTest, urlOf, type Stage } from "./stage.js";

vi.setConfig({ maxConcurrency: 10, hookTimeout: 120_000, testTimeout: 60_000 });

/** What a crowd needs on a machine that is busy. Requests that hang are in faults.test.ts. */
const REQUEST_TIMEOUT_MS = 2_500;

const LOSING_MS = 300;
const SOUND_MS = 700;

/** A lease of the contract's, of 300 ms, must outlive lost replies, on such a machine. */
const CLOCK_SKEW_MS = 3_000;

interface Fault {
  /** Begins it; what it returns ends it. */
  readonly begin: (proxy: FaultProxy) => () => void;
  /** How often it must have struck at least. */
  readonly least: number;
}

let strikes = 0;

const FAULTS: Readonly<Record<string, Fault>> = {
  "is slow": {
    least: 1,
    begin(proxy) {
      strikes += 1;
      proxy.delay(20, 20);
      return () => undefined;
    },
  },

  "loses replies for a while, and then the connections": {
    least: 10,
    begin(proxy) {
      let timer: NodeJS.Timeout;
      const lose = (): void => {
        strikes += 1;
        proxy.dropReplies();
        timer = setTimeout(() => void proxy.heal().then(rest), LOSING_MS);
      };
      const rest = (): void => {
        timer = setTimeout(lose, SOUND_MS);
      };
      rest();
      return () => clearTimeout(timer);
    },
  },

  "cuts connections instead of replying": {
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

  storeContract(
    "DynamoDB Local",
    () =>
      underTest(
        stage,
        { region: REGION, endpoint: urlOf(proxy), requestTimeoutMs: REQUEST_TIMEOUT_MS },
        CLOCK_SKEW_MS,
      ),
    runner,
  );

  test("the network did misbehave", () => {
    expect(strikes).toBeGreaterThanOrEqual(fault.least);
  });
});
