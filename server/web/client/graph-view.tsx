/** The service graph of the last fifteen minutes. */

import { durationText, shareText } from "./format.ts";
import { layoutGraph } from "./graph-layout.ts";
import { EmptyNote, TroubleNote } from "./notes.tsx";
import { usePolled } from "./polled.ts";
import { askGraph, type GraphAnswer, type GraphEdge, type GraphNode } from "./server-answers.ts";

const EVERY_MS = 3_000;
const COLUMN_WIDTH = 280;
const ROW_HEIGHT = 92;
const NODE_WIDTH = 150;
const NODE_HEIGHT = 46;
const MARGIN = 44;

/** The service graph of the last quarter of an hour. */
export function GraphView() {
  const polled = usePolled(() => askGraph("15m"), EVERY_MS, "graph");
  if (polled.value === undefined) return <TroubleNote trouble={polled.trouble} />;
  if (polled.value.edges.length === 0)
    return <EmptyNote what="No call between services was seen in the last fifteen minutes." />;
  return (
    <section>
      <TroubleNote trouble={polled.trouble} />
      <Picture graph={polled.value} />
      <EdgeTable edges={polled.value.edges} />
    </section>
  );
}

function Picture({ graph }: { readonly graph: GraphAnswer }) {
  const names = [
    ...new Set([
      ...graph.nodes.map((node) => node.service),
      ...graph.edges.flatMap((edge) => [edge.client, edge.server]),
    ]),
  ];
  const places = layoutGraph(
    names,
    graph.edges.map((edge) => ({ from: edge.client, to: edge.server })),
  );
  const nodes = new Map(graph.nodes.map((node) => [node.service, node]));
  const x = (name: string) => MARGIN + (places.get(name)?.column ?? 0) * COLUMN_WIDTH;
  const y = (name: string) => MARGIN + (places.get(name)?.row ?? 0) * ROW_HEIGHT;
  const width = Math.max(...names.map(x)) + NODE_WIDTH + MARGIN;
  const height = Math.max(...names.map(y)) + NODE_HEIGHT + MARGIN;
  return (
    <svg
      id="graph"
      viewBox={`0 0 ${width} ${height}`}
      width={width}
      height={height}
      role="img"
      aria-label="Service graph"
    >
      <defs>
        <marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">
          <path d="M0 0 8 4 0 8z" class="arrow" />
        </marker>
      </defs>
      {graph.edges.map((edge) => (
        <Edge
          key={`${edge.client}\u0000${edge.server}\u0000${edge.connection_type}`}
          edge={edge}
          fromX={x(edge.client) + NODE_WIDTH}
          fromY={y(edge.client) + NODE_HEIGHT / 2}
          toX={x(edge.server)}
          toY={y(edge.server) + NODE_HEIGHT / 2}
        />
      ))}
      {names.map((name) => (
        <NodeBox key={name} name={name} node={nodes.get(name)} x={x(name)} y={y(name)} />
      ))}
    </svg>
  );
}

function Edge(props: { edge: GraphEdge; fromX: number; fromY: number; toX: number; toY: number }) {
  const { edge, fromX, fromY, toX, toY } = props;
  if (edge.client === edge.server) return <SelfEdge {...props} />;
  const bend = toX > fromX ? (toX - fromX) / 2 : COLUMN_WIDTH / 2;
  const path = `M${fromX} ${fromY}C${fromX + bend} ${fromY} ${toX - bend} ${toY} ${toX} ${toY}`;
  return (
    <g class={edge.errors > 0 ? "edge failed" : "edge"}>
      <path d={path} marker-end="url(#arrow)" />
      <text x={(fromX + toX) / 2} y={(fromY + toY) / 2 - 6} text-anchor="middle">
        {edgeText(edge)}
      </text>
    </g>
  );
}

/** A service that calls itself: a loop over its box. */
function SelfEdge({ edge, fromX, fromY, toX }: { edge: GraphEdge; fromX: number; fromY: number; toX: number }) {
  const top = fromY - NODE_HEIGHT / 2;
  const path = `M${fromX - 30} ${top}C${fromX - 20} ${top - 30} ${toX + 20} ${top - 30} ${toX + 30} ${top}`;
  return (
    <g class={edge.errors > 0 ? "edge failed" : "edge"}>
      <path d={path} marker-end="url(#arrow)" />
      <text x={(fromX + toX) / 2} y={top - 26} text-anchor="middle">
        {edgeText(edge)}
      </text>
    </g>
  );
}

function edgeText(edge: GraphEdge): string {
  const calls = `${edge.requests.toLocaleString("en")} ${edge.requests === 1 ? "call" : "calls"}`;
  return edge.errors > 0 ? `${calls}, ${shareText(edge.errors, edge.requests)} failed` : calls;
}

function NodeBox({
  name,
  node,
  x,
  y,
}: {
  readonly name: string;
  readonly node: GraphNode | undefined;
  readonly x: number;
  readonly y: number;
}) {
  const kind = node?.kind ?? "service";
  return (
    <g class={`node ${kind}${(node?.errors ?? 0) > 0 ? " failed" : ""}`} transform={`translate(${x} ${y})`}>
      <rect width={NODE_WIDTH} height={NODE_HEIGHT} rx="8" />
      <text x={NODE_WIDTH / 2} y="20" text-anchor="middle" class="node-name">
        {name.length > 20 ? `${name.slice(0, 19)}…` : name}
        <title>{name}</title>
      </text>
      <text x={NODE_WIDTH / 2} y="36" text-anchor="middle" class="node-more">
        {node === undefined || node.requests === 0
          ? "calls only"
          : `p95 ${durationText(node.p95_ms === null ? null : node.p95_ms * 1e6)}`}
      </text>
    </g>
  );
}

function EdgeTable({ edges }: { readonly edges: readonly GraphEdge[] }) {
  return (
    <table>
      <caption>Calls between services in the last fifteen minutes; failed: 5xx, or 4xx as the caller sees it</caption>
      <thead>
        <tr>
          <th>From</th>
          <th>To</th>
          <th class="number">Requests</th>
          <th class="number">Errors</th>
          <th class="number">p95</th>
        </tr>
      </thead>
      <tbody>
        {edges.map((edge) => (
          <tr key={`${edge.client}\u0000${edge.server}\u0000${edge.connection_type}`}>
            <td>{edge.client}</td>
            <td>{edge.server}</td>
            <td class="number">{edge.requests.toLocaleString("en")}</td>
            <td class={edge.errors > 0 ? "number bad" : "number"}>{shareText(edge.errors, edge.requests)}</td>
            <td class="number">{durationText(edge.p95_ms === null ? null : edge.p95_ms * 1e6)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
