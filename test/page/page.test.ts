/** The demo's page, and the client, in a real browser: what it shows is what happened. */
import { build } from "esbuild";
import { fileURLToPath } from "node:url";
import { chromium, type Browser, type Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { chromium as chromiumPath } from "../../infra/services/install.js";
import { chargesOf, killAll, startSupervised } from "../e2e/demo.js";

/** For a browser on a busy machine; nothing here waits that long. */
const TIMEOUT_MS = 120_000;

let browser: Browser;

beforeAll(async () => {
  browser = await chromium.launch({
    executablePath: await chromiumPath(),
    // As root, as in containers, its sandbox does not start; it visits nothing but the demo.
    args: process.getuid?.() === 0 ? ["--no-sandbox"] : [],
  });
}, 600_000);

afterEach(killAll);
afterAll(() => browser?.close());

/** The page, and what went wrong in it: answers of 409 and lost connections apart, which it is there to show. */
async function open(origin: string): Promise<{ page: Page; errors: string[] }> {
  const page = await browser.newPage();
  page.setDefaultTimeout(TIMEOUT_MS / 4);
  const errors: string[] = [];
  page.on("pageerror", (error) => errors.push(error.message));
  page.on("console", (message) => {
    if (message.type() === "error" && !/Failed to load|ERR_/.test(message.text())) {
      errors.push(message.text());
    }
  });
  await page.goto(origin);
  await page.getByText(/Server process \d+ is up/).waitFor();
  return { page, errors };
}

async function text(page: Page, id: string): Promise<string> {
  return (await page.locator(`#${id}`).textContent()) ?? "";
}

/** Waits until an element shows this. */
async function shows(page: Page, id: string, value: string): Promise<true> {
  await page.locator(`#${id}`).getByText(value, { exact: true }).waitFor();
  return true;
}

test(
  "fifty presses at once are one charge, and fifty answers with the same payment",
  async () => {
    const { origin } = await startSupervised();
    const { page, errors } = await open(origin);

    await page.getByRole("button", { name: "Pay 50 times at once" }).click();
    await shows(page, "answers", "50");

    expect(await text(page, "payments")).toBe("1");
    expect(await shows(page, "charges", "1")).toBe(true);
    expect(await text(page, "tally")).toMatch(/\b1 executed\b/);
    expect(await text(page, "tally")).toMatch(/\b49 replayed\b/);
    // Why, in words for everybody: not only where a mouse rests on it.
    await page.getByText("REQUEST_IN_PROGRESS", { exact: true }).first().waitFor();
    const timeline = page.getByRole("log").getByRole("list");
    expect(await timeline.getByRole("listitem").count()).toBeGreaterThan(50);
    await page
      .locator("#record")
      .getByText(/^201, kept until .*"amount":1999/s)
      .waitFor();
    expect(errors).toEqual([]);
  },
  TIMEOUT_MS,
);

test(
  "by keyboard alone: a payment, its retry, another payment",
  async () => {
    const { origin } = await startSupervised();
    const { page } = await open(origin);
    await page.getByLabel(/The card network takes/).fill("0");

    await page.getByRole("button", { name: "Pay", exact: true }).focus();
    await page.keyboard.press("Enter");
    await shows(page, "answers", "1");
    await page.keyboard.press("Enter");
    await shows(page, "answers", "2");
    expect(await shows(page, "charges", "1")).toBe(true);

    await page.getByRole("button", { name: /Another payment/ }).focus();
    await page.keyboard.press("Space");
    await page.getByRole("button", { name: "Pay", exact: true }).focus();
    await page.keyboard.press("Enter");
    await shows(page, "answers", "1");
    expect(await shows(page, "charges", "2")).toBe(true);
  },
  TIMEOUT_MS,
);

test(
  "a slow payment's lease is renewed before one's eyes",
  async () => {
    const { origin } = await startSupervised({ IDEMPOTENCY_LEASE_MS: "900" });
    const { page } = await open(origin);
    await page.getByLabel(/The card network takes/).fill("3");

    await page.getByRole("button", { name: "Pay", exact: true }).click();
    await page.getByText("The lease was renewed.").first().waitFor();
    await page.getByText(/^Held for another/).waitFor();
    await shows(page, "answers", "1");

    expect(await shows(page, "charges", "1")).toBe(true);
  },
  TIMEOUT_MS,
);

test(
  "a server killed half-way comes back, and the retry recovers",
  async () => {
    const { origin } = await startSupervised();
    const { page, errors } = await open(origin);
    await page.getByLabel(/The card network takes/).fill("6");

    await page.getByRole("button", { name: "Pay", exact: true }).click();
    await page.getByText("running", { exact: true }).waitFor();
    await page.getByRole("button", { name: /Kill the server/ }).click();
    await page.getByText("killed", { exact: true }).first().waitFor();
    // The page sees the retry, too: it was connected again before that was sent.
    await page.getByText("running", { exact: true }).waitFor();
    await shows(page, "answers", "1");

    expect(await text(page, "payments")).toBe("1");
    expect(await shows(page, "charges", "1")).toBe(true);
    expect(errors).toEqual([]);
  },
  TIMEOUT_MS,
);

test(
  "it is readable in the dark and in the light: two grounds, two texts",
  async () => {
    const { origin } = await startSupervised();
    const { page } = await open(origin);
    const colors = () =>
      page.evaluate(
        "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor].join()",
      );

    await page.emulateMedia({ colorScheme: "light" });
    const light = await colors();
    await page.emulateMedia({ colorScheme: "dark" });

    expect(await colors()).not.toBe(light);
  },
  TIMEOUT_MS,
);

test(
  "the client retries in a browser as in Node: one key, one body, one charge",
  async () => {
    const { outputFiles } = await build({
      entryPoints: [fileURLToPath(new URL("../../src/client.ts", import.meta.url))],
      bundle: true,
      format: "iife",
      globalName: "kit",
      platform: "browser",
      write: false,
    });
    const { origin } = await startSupervised();
    const { page } = await open(origin);
    await page.addScriptTag({ content: outputFiles[0]?.text ?? "" });

    // The first attempt reaches the server, and its answer is lost.
    const seen = await page.evaluate(`(async () => {
      const keys = [];
      const lossy = async (request) => {
        keys.push(request.headers.get("Idempotency-Key"));
        const response = await fetch(request);
        if (keys.length === 1) throw new TypeError("lost");
        return response;
      };
      const send = kit.retryingFetch({ fetch: lossy, firstPauseMs: 1 });
      const body = JSON.stringify({ amount: 1, currency: "EUR" });
      const response = await send("/payments", { method: "POST", body });
      return { keys, status: response.status, replayed: response.headers.get("Idempotency-Replayed") };
    })()`);

    expect(seen).toMatchObject({ status: 201, replayed: "true" });
    const { keys } = seen as { keys: string[] };
    expect(keys).toEqual([expect.stringMatching(/^"[\da-f-]{36}"$/), keys[0]]);
    expect(await chargesOf(origin)).toBe(1);
  },
  TIMEOUT_MS,
);

test("another site can neither kill the server nor watch it", async () => {
  const { origin } = await startSupervised();
  const headers = { "Sec-Fetch-Site": "cross-site" };

  expect(await fetch(`${origin}/crash`, { method: "POST", headers })).toMatchObject({
    status: 404,
  });
  expect(await fetch(`${origin}/activity`, { headers })).toMatchObject({ status: 404 });
  expect(await fetch(`${origin}/health`)).toMatchObject({ status: 200 });
});
