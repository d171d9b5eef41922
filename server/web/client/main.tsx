/** The page: a line on what is captured, and one of four views chosen by the address. */

import { render } from "preact";
import { useEffect, useState } from "preact/hooks";
import { GraphView } from "./graph-view.tsx";
import { usePolled } from "./polled.ts";
import { RequestsView } from "./requests-view.tsx";
import { askCapture, type CaptureAnswer } from "./server-answers.ts";
import { ServicesView } from "./services-view.tsx";
import { TraceView } from "./trace-view.tsx";

const VIEWS = [
  { path: "services", title: "Services" },
  { path: "requests", title: "Requests" },
  { path: "graph", title: "Graph" },
];
const CAPTURE_EVERY_MS = 3_000;

function Page() {
  const [view, detail] = useAddress();
  return (
    <>
      <header>
        <h1>
          <a href="#/services">Thalweg</a>
        </h1>
        <nav aria-label="Views">
          {VIEWS.map(({ path, title }) => (
            <a key={path} href={`#/${path}`} aria-current={view === path ? "page" : undefined}>
              {title}
            </a>
          ))}
        </nav>
        <CaptureLine />
      </header>
      <main>
        <View view={view} detail={detail} />
      </main>
    </>
  );
}

function View({ view, detail }: { readonly view: string; readonly detail: string }) {
  if (view === "requests") return <RequestsView service={detail} />;
  if (view === "graph") return <GraphView />;
  if (view === "trace") return <TraceView traceId={detail} />;
  return <ServicesView />;
}

function CaptureLine() {
  const polled = usePolled(askCapture, CAPTURE_EVERY_MS, "capture");
  if (polled.trouble !== "") return <p class="capture bad">Server out of reach</p>;
  if (polled.value === undefined) return <p class="capture" />;
  return <CaptureState capture={polled.value} />;
}

function CaptureState({ capture }: { readonly capture: CaptureAnswer }) {
  if (capture.tier === "replay") {
    return (
      <p class="capture replay" role="status">
        Replay: recorded elsewhere, not from this machine. {capture.why}
      </p>
    );
  }
  if (capture.tier === "off") {
    return (
      <p class="capture quiet" role="status">
        Capture is off: {capture.why}
      </p>
    );
  }
  const lost = Object.values(capture.lost).reduce((sum, count) => sum + count, 0);
  return (
    <p class="capture" role="status" title={capture.why}>
      Live by <b>{capture.tier}</b>, {capture.seen.toLocaleString("en")} events seen
      {lost > 0 ? <span class="bad">, {lost.toLocaleString("en")} lost</span> : null}
      {capture.lostByTier === "" ? null : <span class="quiet"> Not seen this way: {capture.lostByTier}.</span>}
    </p>
  );
}

function useAddress(): [view: string, detail: string] {
  const read = (): [string, string] => {
    const [view, detail] = location.hash.replace(/^#\/?/, "").split("/");
    return [view || "services", decodeURIComponent(detail ?? "")];
  };
  const [address, setAddress] = useState(read);
  useEffect(() => {
    const changed = () => setAddress(read());
    addEventListener("hashchange", changed);
    return () => removeEventListener("hashchange", changed);
  }, []);
  return address;
}

const page = document.getElementById("page");
if (page !== null) render(<Page />, page);
