/**
 * Prometheus' HTTP API.
 *
 * @see https://prometheus.io/docs/prometheus/latest/querying/api/
 */

import type { FastifyInstance } from "fastify";
import type { ApiDeps } from "./api-deps.ts";
import { addAdminRoutes } from "./prometheus-admin.ts";
import { type CorsRule, routeAdder } from "./prometheus-answer.ts";
import { addLabelRoutes } from "./prometheus-labels.ts";
import { addQueryRoutes } from "./prometheus-query.ts";
import { addRuleRoutes } from "./prometheus-rules.ts";
import { addSearchRoutes } from "./prometheus-search.ts";
import { addPrometheusStatusRoutes } from "./prometheus-status.ts";
import { addTargetRoutes } from "./prometheus-targets.ts";
import type { BodyLimits } from "./request-body.ts";

/** Adds the routes under `/api/v1`. */
export function addPrometheusRoutes(app: FastifyInstance, deps: ApiDeps, limits: BodyLimits, cors: CorsRule): void {
  const add = routeAdder(app, limits, cors);
  addQueryRoutes(add, deps);
  addLabelRoutes(add, deps);
  addRuleRoutes(add, deps);
  addPrometheusStatusRoutes(add, deps);
  addTargetRoutes(add, deps);
  addSearchRoutes(add, deps);
  addAdminRoutes(add, deps);
}
