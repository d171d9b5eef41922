/** The shop's front: one page asks the catalogue and the cart. */

import { ask, peer, serveShop } from "./shop-server.ts";

const catalog = peer("SHOP_CATALOG");
const cart = peer("SHOP_CART");

serveShop(async (path) => {
  const product = /^\/products\/(\d+)$/.exec(path);
  if (product !== null) {
    const found = await ask("GET", catalog, `/items/${product[1]}`);
    if (found.status !== 200) return { status: found.status, body: { error: "no such product" } };
    const count = await ask("GET", cart, "/carts/7001/count");
    return { status: 200, body: { product: found.body, cart: count.body } };
  }
  if (path === "/checkout") {
    const placed = await ask("POST", cart, "/carts/7001/orders", { paid: true });
    return { status: placed.status === 201 ? 200 : 500, body: placed.body };
  }
  if (path === "/") return { status: 200, body: await ask("GET", catalog, "/items").then((answer) => answer.body) };
  return { status: 404, body: { error: "no such page" } };
});
