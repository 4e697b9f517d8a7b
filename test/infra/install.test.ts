/** What a machine is told that lacks the programs which tests and benchmarks start. */
import { expect, onTestFinished, test, vi } from "vitest";
import { chromium, java, redisServer, wrk } from "../../infra/services/install.js";

test.each([
  ["redis-server", redisServer, "install Redis 7.0 or newer"],
  ["java", java, "install Java 17 or newer"],
  ["chromium", chromium, "install it"],
  ["wrk", wrk, "apt-get install wrk"],
] as const)(
  "where %s is missing and may not be installed, it is said how to get it",
  async (command, find, says) => {
    vi.stubEnv("PATH", "");
    for (const elsewhere of ["REDIS_SERVER", "JAVA_HOME", "CHROMIUM"])
      vi.stubEnv(elsewhere, undefined);
    const user = vi.spyOn(process, "getuid").mockReturnValue(1_000);
    onTestFinished(() => {
      vi.unstubAllEnvs();
      user.mockRestore();
    });

    const error = await find().catch((reason: unknown) => reason);

    expect(error).toMatchObject({
      message: expect.stringMatching(`^${command} is not on the path.*${says}`),
    });
  },
);
