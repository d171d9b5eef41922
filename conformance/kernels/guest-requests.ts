/** How often the guest asks its web server on each rung. */
export const REQUESTS = 5;
