import assert from "node:assert/strict";
import { test } from "node:test";
import type { ProcessSeen } from "../../server/model/capture-event.ts";
import { parseOtelResourceAttributes, serviceName } from "./service-name.ts";

const NOWHERE = { unit: "", containerId: "" };

function process(command: string, more: Partial<ProcessSeen> = {}): ProcessSeen {
  // A process that writes its own title has it as one word.
  const cmdline = command.includes(": ") ? [command] : command.split(" ");
  const first = cmdline[0] ?? "";
  const exe = more.exe ?? (first.startsWith("/") ? first : `/usr/bin/${first}`);
  return {
    pid: 7,
    startNs: 1,
    comm: exe.split("/").pop() ?? "",
    cwd: "/srv/shop",
    otelServiceName: "",
    otelResourceAttributes: "",
    unit: "",
    containerId: "",
    language: "",
    ...more,
    exe,
    cmdline,
  };
}

test("a program is named by its script, module or jar", () => {
  const named = (command: string, want: string, more: Partial<ProcessSeen> = {}) =>
    assert.equal(serviceName(process(command, more), NOWHERE).service, want, command);
  const python = { exe: "/usr/bin/python3.11" };
  named("python3 -m http.server 8000", "http.server", python);
  named("python3 -u -m http.server", "http.server", python);
  named("python3 -um http.server 0", "http.server", python);
  named("python3 backend.py", "backend", python);
  named("/usr/bin/python3 /srv/orders/app.py --port 80", "orders", python);
  named("python3 app.py", "shop", python);
  named("python3 -W ignore -X dev ./worker.py", "worker", python);
  named("python3 manage.py runserver", "shop", python);
  named("python3 -c import\u0020x", "python3.11", python);
  named("python3", "python3.11", python);
  named("/usr/bin/python3 /usr/bin/gunicorn shop.wsgi:application -w 4", "shop", python);
  named("/usr/bin/python3 /usr/local/bin/gunicorn -b 0.0.0.0:80 cart:app", "cart", python);
  named("/usr/bin/python3 /usr/local/bin/gunicorn app:app", "basket", { ...python, cwd: "/srv/basket" });
  named("/venv/bin/python /venv/bin/uvicorn payments.main:app --port 9", "payments", { exe: "/usr/bin/python3.12" });
  named("python3 -m uvicorn x:y", "x", python);
  named("python3 -m flask run", "shop", python);
  named("python3 -m flask --app catalogue run -p 5000", "catalogue", python);
  named("/usr/bin/python3 /usr/bin/flask run", "checkout", { ...python, cwd: "/opt/checkout/src" });
  named("/usr/bin/python3 /usr/bin/celery -A tasks worker", "tasks", python);
  const node = { exe: "/usr/local/bin/node" };
  named("node front.js", "front", node);
  named("node /srv/front/index.js", "front", node);
  named("node dist/server.js", "shop", node);
  named("node --max-old-space-size=512 --enable-source-maps backend.mjs", "backend", node);
  named("node -r dotenv/config --import ./otel.mjs gateway.ts", "gateway", node);
  named("node", "node", node);
  named("node -e console.log(1)", "node", node);
  named("node --inspect=0.0.0.0:9229 ./build/main.js", "shop", node);
  named("node /srv/shop/node_modules/.bin/tsx src/inventory.ts", "inventory", node);
  named("node /srv/shop/node_modules/.bin/next start", "shop", node);
  named("node /usr/lib/node_modules/npm/bin/npm-cli.js start", "shop", node);
  named("checkout-title", "checkout-title", node);
  const java = { exe: "/usr/lib/jvm/java-17/bin/java" };
  named("java -jar billing.jar", "billing", java);
  named("java -Xmx1g -jar /opt/x/billing-service-1.4.2-SNAPSHOT.jar --spring.config=a", "billing-service", java);
  named("java -jar /opt/ledger/app.jar", "ledger", java);
  named("java -cp /a.jar:/b.jar com.acme.orders.Main", "orders", java);
  named("java -Dx=y -classpath lib/* com.acme.Invoicer arg", "Invoicer", java);
  named("java -cp x org.apache.catalina.startup.Bootstrap start", "catalina", java);
  named("java -cp x org.springframework.boot.loader.launch.JarLauncher", "shop", java);
  named("java --module-path mods -m acme/com.acme.Stock", "Stock", java);
  named("nginx: master process /usr/sbin/nginx -g daemon off;", "nginx", { exe: "/usr/sbin/nginx" });
  named("nginx: worker process", "nginx", { exe: "" });
  named("gunicorn: worker [cart:app]", "cart", python);
  named("postgres: writer process", "postgres", { exe: "/usr/lib/postgresql/15/bin/postgres" });
  named("ruby /srv/blog/bin/rails server", "shop", { exe: "/usr/bin/ruby3.1" });
  named("ruby mailer.rb", "mailer", { exe: "/usr/bin/ruby3.1" });
  named("php artisan serve", "artisan", { exe: "/usr/bin/php8.2" });
  named("dotnet Shop.Api.dll", "Shop.Api", { exe: "/usr/share/dotnet/dotnet" });
  named("/bin/sh /opt/tools/poll.sh", "poll", { exe: "/bin/dash" });
  named("bash -c x", "bash", { exe: "/bin/bash" });
  named("httpd -f", "httpd", { exe: "/bin/busybox" });
  named("/tmp/go-build1/b001/exe/worker", "worker");
  named("/usr/local/bin/envoy -c x.yaml", "envoy");
  named("/opt/api/server (deleted)", "server", { exe: "/opt/api/server (deleted)" });
  named("deno run -A relay.ts", "relay", { exe: "/usr/bin/deno" });
  named("curl http://127.0.0.1/?token=secret", "curl");
});

test("a name that the owner gave wins, in order", () => {
  const all = {
    otelServiceName: "declared",
    otelResourceAttributes: "service.name=listed,team=a",
    unit: "orders",
    containerId: "a".repeat(64),
    exe: "/usr/bin/node",
  };
  const ok = (more: Partial<ProcessSeen>, service: string, reason: string) =>
    assert.deepEqual(serviceName(process("node front.js", { ...all, ...more }), NOWHERE), { service, reason });
  ok({}, "declared", "OTEL_SERVICE_NAME");
  ok({ otelServiceName: " " }, "listed", "OTEL_RESOURCE_ATTRIBUTES");
  const undeclared = { otelServiceName: "", otelResourceAttributes: "" };
  ok(undeclared, "orders", "unit");
  ok({ ...undeclared, unit: "" }, "aaaaaaaaaaaa", "container");
  ok({ ...undeclared, unit: "", containerId: "" }, "front", "program");
});

test("units that hold anything do not name a process", () => {
  const named = (unit: string, want: string) =>
    assert.equal(serviceName(process("node front.js", { unit, exe: "/usr/bin/node" }), NOWHERE).service, want, unit);
  for (const unit of [
    "user@1000",
    "session-3",
    "session-c2",
    "init",
    "init.scope",
    "system.slice",
    "user-1000.slice",
    "docker-0123456789ab",
    "docker",
    "containerd",
    "cri-containerd-12",
    "ssh",
    "cron",
    "run-u12",
    "vte-spawn-1234",
    "app-gnome-firefox-44",
    "gnome-terminal-server",
    "tmux-spawn-5",
    "supervisor",
    "getty@tty1",
  ])
    named(unit, "front");
  named("shop-front", "shop-front");
  named("shop-front.service", "shop-front");
  named("worker@3", "worker");
  named("app-backend", "app-backend");
  named("user-service", "user-service");
});

test("what the agent shares with a process does not name it", () => {
  const seen = process("node front.js", { unit: "ci-runner", containerId: "b".repeat(64), exe: "/usr/bin/node" });
  assert.equal(serviceName(seen, { unit: "ci-runner", containerId: "b".repeat(64) }).service, "front");
});

test("names are bounded and printable", () => {
  const name = (otelServiceName: string) => serviceName(process("x", { otelServiceName }), NOWHERE).service;
  assert.equal(name("a\u001b[31m\nb"), "a[31mb");
  assert.equal(name("x".repeat(1000)).length, 200);
  assert.equal(serviceName({ ...process("x"), cmdline: [], exe: "", comm: "" }, NOWHERE).service, "unknown_service");
});

test("parseOtelResourceAttributes", () => {
  const ok = (text: string, want: Record<string, string>) =>
    assert.deepEqual(Object.fromEntries(parseOtelResourceAttributes(text)), want);
  ok("service.name=a%20b, deployment.environment = prod ,", {
    "service.name": "a b",
    "deployment.environment": "prod",
  });
  ok("", {});
  ok("novalue", {});
  ok("a=%zz", {});
  ok("a=b=c", { a: "b=c" });
});
