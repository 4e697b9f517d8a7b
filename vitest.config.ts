import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    // Guards against what hangs; a busy machine is slow, and no test is about time.
    testTimeout: 60_000,
    hookTimeout: 120_000,
    expect: { poll: { timeout: 20_000 } },
    // Most tests wait for servers, not for a processor.
    maxWorkers: 3,
    // In every file that uses the SDK; what Node the kit needs, package.json says.
    env: { AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED: "true" },
    reporters: ["default", "./test/support/closing-line.ts"],
    coverage: {
      provider: "v8",
      include: ["src/**", "stores/**"],
      reporter: ["text", "json-summary"],
      // Functions: V8 counts some that were called as not called where one file is loaded in several ways.
      thresholds: { lines: 95, statements: 95, functions: 85, branches: 90 },
    },
  },
});
