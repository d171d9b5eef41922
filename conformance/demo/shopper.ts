/** Visitors of the shop: a few requests a second, one after the other. */

import { ask, peer } from "./shop-server.ts";

const front = peer("SHOP_FRONT");
const perSecond = Number(process.env["SHOP_RATE"] ?? "4");
const paths = [
  "/",
  "/products/0",
  "/products/1",
  "/checkout",
  "/products/3",
  "/products/99",
  "/products/4",
  "/products/2",
];

process.stdin.on("end", () => process.exit(0)).resume();
await new Promise((resolve) => setTimeout(resolve, Number(process.env["SHOP_VISIT_AFTER_MS"] ?? "0")));
for (let visit = 0; ; visit++) {
  const startedMs = performance.now();
  await ask("GET", front, paths[visit % paths.length] ?? "/").catch((error: unknown) => {
    process.stderr.write(`the shop did not answer: ${error instanceof Error ? error.message : String(error)}\n`);
  });
  await new Promise((resolve) => setTimeout(resolve, Math.max(0, 1000 / perSecond - (performance.now() - startedMs))));
}
