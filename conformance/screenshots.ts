/**
 * `npm run screenshots -- --out DIR`: the demo under a real browser. Asserts what each view shows, then takes its picture,
 * and prints the bytes of the first load.
 */

import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { type Browser, chromium, type Page } from "playwright-core";
import { startShop } from "./demo/shop.ts";
import { Program, until } from "./program.ts";
import { SuiteReport } from "./suite.ts";

const FIRST_LOAD_BYTES_MAX = 100 * 1024;
const BARS_MIN = 3;
const VIEW_MS_MAX = 20_000;
const WARM_UP_MS_MAX = 20_000;
const BROWSERS = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];

/** Takes all pictures; each view is a case of the report. */
export async function takeScreenshots(out: string, capture: string, report: SuiteReport): Promise<void> {
  const executablePath = BROWSERS.find((file) => existsSync(file));
  if (executablePath === undefined) return report.skip("screenshots", "this machine has no Chromium", "servers");
  if (capture === "auto" && process.getuid?.() !== 0) {
    return report.skip("screenshots", "live capture needs root", "capture");
  }
  mkdirSync(out, { recursive: true });
  const program = await Program.start(["--capture", capture]);
  const shop = await startShop(6);
  let browser: Browser | undefined;
  try {
    browser = await chromium.launch({
      executablePath,
      args: [
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--no-first-run",
      ],
    });
    await until(
      async () => ((await program.sql("SELECT count(*) AS n FROM spans"))[0]?.[0] === "0" ? undefined : true),
      WARM_UP_MS_MAX,
    );
    const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, colorScheme: "light" });
    await photograph(await context.newPage(), program, out, report);
    const dark = await browser.newContext({ viewport: { width: 1280, height: 800 }, colorScheme: "dark" });
    const page = await dark.newPage();
    await page.goto(`${program.http}/#/graph`);
    await page.locator("#graph .node").first().waitFor({ timeout: VIEW_MS_MAX });
    await page.screenshot({ path: join(out, "graph-dark.png") });
  } finally {
    await browser?.close();
    await shop.stop();
    await program.discard();
  }
}

async function photograph(page: Page, program: Program, out: string, report: SuiteReport): Promise<void> {
  const troubles: string[] = [];
  let firstLoadBytes = 0;
  page.on("console", (message) => {
    if (message.type() === "error") troubles.push(message.text());
  });
  page.on("pageerror", (error) => troubles.push(error.message));
  page.on("response", (response) => {
    if (!new URL(response.url()).pathname.startsWith("/api/")) {
      response
        .request()
        .sizes()
        .then(
          ({ responseBodySize, responseHeadersSize }) => {
            firstLoadBytes += responseBodySize + responseHeadersSize;
          },
          (error: unknown) => troubles.push(String(error)),
        );
    }
  });
  const view = async (name: string, path: string, ready: () => Promise<string>) => {
    let fault = "";
    try {
      await page.goto(`${program.http}/${path}`);
      fault = await ready();
    } catch (error) {
      fault = error instanceof Error ? error.message : String(error);
    }
    await page.screenshot({ path: join(out, `${name}.png`) });
    report.add(`${name}: ${join(out, `${name}.png`)}`, fault);
  };
  await view("services", "", async () => {
    await page.locator("#services tbody tr", { hasText: "storefront" }).first().waitFor({ timeout: VIEW_MS_MAX });
    const text = await page.locator("#services tbody").textContent();
    return ["storefront", "cart", "catalog"]
      .filter((name) => !text?.includes(name))
      .map((name) => `service ${name} is missing`)
      .join("\n");
  });
  await page.waitForTimeout(500);
  report.add(
    `first load: ${firstLoadBytes} bytes`,
    firstLoadBytes > 0 && firstLoadBytes <= FIRST_LOAD_BYTES_MAX ? "" : `the bar is ${FIRST_LOAD_BYTES_MAX}`,
  );
  await view("requests", "#/requests", async () => {
    const rows = page.locator("#requests tbody tr");
    await rows.first().waitFor({ timeout: VIEW_MS_MAX });
    const first = await rows.first().textContent();
    const changed = await until(
      async () => ((await rows.first().textContent()) === first ? undefined : true),
      VIEW_MS_MAX,
    );
    if (changed === undefined) return "the newest row did not change while the shop was visited";
    return "";
  });
  await view("trace", await deepestTrace(program), async () => {
    const bars = page.locator("#waterfall .bar");
    await bars.first().waitFor({ timeout: VIEW_MS_MAX });
    const count = await bars.count();
    return count >= BARS_MIN ? "" : `${count} bars, at least ${BARS_MIN} are expected`;
  });
  await view("graph", "#/graph", async () => {
    await page.locator("#graph .node", { hasText: "storefront" }).waitFor({ timeout: VIEW_MS_MAX });
    const edges = await page.locator("#graph .edge").count();
    return edges >= 2 ? "" : `${edges} edges`;
  });
  report.add("the page reports no error", troubles.join("\n"));
}

async function deepestTrace(program: Program): Promise<string> {
  const rows = await until(async () => {
    const found = await program.sql(
      "SELECT trace_id, count(*) AS n FROM spans GROUP BY trace_id ORDER BY n DESC LIMIT 1",
    );
    return Number(found[0]?.[1] ?? 0) >= BARS_MIN ? found : undefined;
  }, VIEW_MS_MAX);
  return `#/trace/${rows?.[0]?.[0] ?? ""}`;
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: { out: { type: "string", default: "build/screenshots" }, capture: { type: "string", default: "auto" } },
  });
  const report = new SuiteReport();
  await takeScreenshots(values.out, values.capture, report);
  const { passed, failed, skipped } = report.outcome;
  for (const line of skipped) process.stdout.write(`skipped: ${line}\n`);
  process.stdout.write(`${passed} passed, ${failed} failed\n`);
  process.exitCode = failed === 0 ? 0 : 1;
}
