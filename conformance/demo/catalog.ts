/** The catalogue: items from memory, reviews from the Python process where it runs. */

import { ask, serveShop, work } from "./shop-server.ts";

const ITEMS = ["anchor", "buoy", "compass", "dinghy", "echo sounder"];
const reviews = process.env["SHOP_REVIEWS"];

serveShop(async (path) => {
  await work(4);
  if (path === "/items") return { status: 200, body: ITEMS };
  const id = Number(/^\/items\/(\d+)$/.exec(path)?.[1] ?? Number.NaN);
  const name = ITEMS[id];
  if (name === undefined) return { status: 404, body: { error: "no such item" } };
  const stars = reviews === undefined ? null : (await ask("GET", reviews, `/reviews/${id}`)).body;
  return { status: 200, body: { id, name, stars } };
});
