/**
 * Which services are compared, and what is asked of each.
 */

import { javaWithVirtualThreads, type Service, service } from "./stage.ts";

/** A runtime with a pattern. */
export interface Cell {
  readonly runtime: string;
  readonly pattern: string;
  readonly services: readonly Service[];
  /** They are asked for whom they call (`--inject-node`). */
  readonly isAsked?: boolean;
  /** All of them speak TLS, on both sides. */
  readonly isTls?: boolean;
  /** Calls for one request, of all services together. */
  readonly calls: number;
  /** Most of the parents must be drawn; elsewhere evidence is wanting, and none is as good as right. */
  readonly isDrawn: boolean;
  readonly needs: readonly (
    | "go"
    | "java"
    | "nginx"
    | "haproxy"
    | "python3"
    | "databases"
    | "virtual threads"
    | "started goroutines"
  )[];
}

const node = (pattern: string, calls: number, isDrawn: boolean): Cell => ({
  runtime: "node",
  pattern,
  services: [service.node(pattern, calls)],
  calls,
  isDrawn,
  needs: [],
});

const CLEAR_CELLS: readonly Cell[] = [
  node("new", 2, true),
  node("keep-alive", 2, true),
  node("fetch", 2, true),
  node("parallel", 3, true),
  node("worker", 2, true),
  node("timers", 2, false),
  node("fs", 2, false),
  node("pool", 2, false),
  {
    runtime: "python",
    pattern: "threads",
    services: [service.python("threads.py", "threads", 2)],
    calls: 2,
    isDrawn: true,
    needs: ["python3"],
  },
  {
    runtime: "python",
    pattern: "prefork",
    services: [service.python("threads.py", "prefork", 2)],
    calls: 2,
    isDrawn: true,
    needs: ["python3"],
  },
  {
    runtime: "python",
    pattern: "queue",
    services: [service.python("workers.py", "queue", 2)],
    calls: 2,
    isDrawn: true,
    needs: ["python3"],
  },
  {
    runtime: "python",
    pattern: "stages",
    services: [service.python("workers.py", "stages", 2)],
    calls: 2,
    isDrawn: false,
    needs: ["python3"],
  },
  {
    runtime: "asyncio",
    pattern: "sequential",
    services: [service.python("coroutines.py", "sequential", 2)],
    calls: 2,
    isDrawn: true,
    needs: ["python3"],
  },
  {
    runtime: "asyncio",
    pattern: "gather",
    services: [service.python("coroutines.py", "gather", 3)],
    calls: 3,
    isDrawn: true,
    needs: ["python3"],
  },
  { runtime: "go", pattern: "client", services: [service.go("client", 2)], calls: 2, isDrawn: true, needs: ["go"] },
  {
    runtime: "go",
    pattern: "fan-out",
    services: [service.go("fanout", 3)],
    calls: 3,
    isDrawn: true,
    needs: ["go", "started goroutines"],
  },
  {
    runtime: "java",
    pattern: "threads",
    services: [service.java("threads", 2)],
    calls: 2,
    isDrawn: true,
    needs: ["java"],
  },
  {
    runtime: "java",
    pattern: "executor",
    services: [service.java("executor", 2)],
    calls: 2,
    isDrawn: false,
    needs: ["java"],
  },
  {
    runtime: "java",
    pattern: "handover",
    services: [service.java("handover", 2)],
    calls: 2,
    isDrawn: true,
    needs: ["java"],
  },
  {
    runtime: "java",
    pattern: "virtual threads",
    services: [service.java("virtual", 2, javaWithVirtualThreads())],
    calls: 2,
    isDrawn: false,
    needs: ["java", "virtual threads"],
  },
  { runtime: "nginx", pattern: "new", services: [service.nginx(false)], calls: 1, isDrawn: true, needs: ["nginx"] },
  {
    runtime: "nginx",
    pattern: "keep-alive",
    services: [service.nginx(true)],
    calls: 1,
    isDrawn: true,
    needs: ["nginx"],
  },
  {
    runtime: "haproxy",
    pattern: "request ids",
    services: [service.haproxy(true)],
    calls: 1,
    isDrawn: true,
    needs: ["haproxy"],
  },
  { runtime: "haproxy", pattern: "proxy", services: [service.haproxy()], calls: 1, isDrawn: true, needs: ["haproxy"] },
  {
    runtime: "node",
    pattern: "databases",
    services: [service.databases()],
    calls: 2,
    isDrawn: true,
    needs: ["databases"],
  },
  {
    runtime: "chain",
    pattern: "all in a row",
    services: [
      service.nginx(true),
      service.node("keep-alive", 1),
      service.python("threads.py", "threads", 1),
      service.go("client", 1),
      service.java("threads", 1),
      service.databases(),
    ],
    calls: 7,
    isDrawn: true,
    needs: ["nginx", "python3", "go", "java", "databases"],
  },
  {
    runtime: "chain",
    pattern: "nginx, Node, Python",
    services: [service.nginx(true), service.node("keep-alive", 1), service.python("threads.py", "threads", 1)],
    calls: 3,
    isDrawn: true,
    needs: ["nginx", "python3"],
  },
];

/** Those that are run over TLS too: on OpenSSL, which Go and Java have not. */
const SEALED: readonly string[] = [
  "node new",
  "node keep-alive",
  "node fetch",
  "node parallel",
  "python threads",
  "python prefork",
  "asyncio sequential",
  "asyncio gather",
  "nginx new",
  "nginx keep-alive",
  "chain nginx, Node, Python",
];

/** Those of which nothing is known unless they are asked. */
const ASKED: readonly string[] = ["node timers", "node fs", "node pool"];

/** All cells of the bench. */
export const CELLS: readonly Cell[] = [
  ...CLEAR_CELLS,
  ...CLEAR_CELLS.filter(({ runtime, pattern }) => ASKED.includes(`${runtime} ${pattern}`)).map((cell) => ({
    ...cell,
    pattern: `${cell.pattern} asked`,
    isAsked: true,
    isDrawn: true,
  })),
  ...CLEAR_CELLS.filter(({ runtime, pattern }) => SEALED.includes(`${runtime} ${pattern}`)).map((cell) => ({
    ...cell,
    pattern: `${cell.pattern} TLS`,
    isTls: true,
  })),
];

/** Share of the expected parents that must be drawn where `isDrawn`. */
export const DRAWN_SHARE_MIN = 0.95;
/** Share of the drawn parents that may be wrong in any cell. */
export const WRONG_SHARE_MAX = 0.01;
