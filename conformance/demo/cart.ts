/** The cart: counts in Redis where it runs, else in memory. Every ninth order fails. */

import { connectRedis, type RedisCounter } from "./redis-counter.ts";
import { serveShop, work } from "./shop-server.ts";

const FAILS_EVERY = 9;
let orders = 0;
let inMemory = 0;
const redisPort = Number(process.env["SHOP_REDIS_PORT"] ?? "0");
const redis: RedisCounter | undefined = redisPort === 0 ? undefined : await connectRedis(redisPort);

serveShop(async (path, message) => {
  if (message.method === "GET" && /^\/carts\/\d+\/count$/.test(path)) {
    const count = redis === undefined ? ++inMemory : await redis.increment("cart:7001");
    return { status: 200, body: { count } };
  }
  if (message.method === "POST" && /^\/carts\/\d+\/orders$/.test(path)) {
    await work(15);
    orders++;
    if (orders % FAILS_EVERY === 0) return { status: 503, body: { error: "payment is down" } };
    return { status: 201, body: { order: orders } };
  }
  return { status: 404, body: { error: "no such cart" } };
});
