"""A Python service with one thread a connection, or one process. Arguments: threads|prefork, port, port called, calls.

Tells the truth as node.ts does.
"""
import http.client
import os
import signal
import socketserver
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

pattern, own, to, calls = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
WORKERS = 8
lock = threading.Lock()
seen = {}
ordinals = {}
local = threading.local()
children = []


def count(table, port):
    with lock:
        table[port] = table.get(port, 0) + 1
        return table[port]


def tell(line):
    os.write(1, line.encode())


def call(cause):
    connection = getattr(local, "connection", None)
    if connection is None:
        connection = local.connection = http.client.HTTPConnection("127.0.0.1", to)
    connection.request("GET", "/item")
    port = connection.sock.getsockname()[1]
    connection.getresponse().read()
    tell(f"call {port} {to} {count(ordinals, port)} for {cause}\n")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1" if pattern == "threads" else "HTTP/1.0"
    disable_nagle_algorithm = True
    wbufsize = -1

    def do_GET(self):
        port = self.client_address[1]
        cause = f"{port} {own} {count(seen, port)}"
        for _ in range(calls):
            call(cause)
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")
        self.wfile.flush()

    def log_message(self, *_):
        pass


class Threads(socketserver.ThreadingMixIn, HTTPServer):
    daemon_threads = True
    request_queue_size = 256


class Prefork(HTTPServer):
    request_queue_size = 256


def main():
    server = (Threads if pattern == "threads" else Prefork)(("127.0.0.1", own), Handler)
    if pattern == "prefork":
        for _ in range(WORKERS - 1):
            child = os.fork()
            if child == 0:
                children.clear()
                break
            children.append(child)
        else:
            tell("ready\n")
    else:
        tell("ready\n")
    server.serve_forever()


def stop(*_):
    for child in children:
        os.kill(child, signal.SIGTERM)
    os._exit(0)


signal.signal(signal.SIGTERM, stop)
main()
