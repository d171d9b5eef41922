"""What the threaded services in Python have in common: a server with one thread a connection, or one process, and the truth.

With SERVICE_TLS=CERTIFICATE,KEY it speaks TLS, and so should what is called.
"""
import os
import signal
import socketserver
import ssl
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

WORKERS = 8
tls = os.environ.get("SERVICE_TLS", "")
lock = threading.Lock()
seen = {}
ordinals = {}
children = []


def client_context():
    return ssl._create_unverified_context()


def server_context():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*tls.split(","))
    return context


def count(table, key):
    with lock:
        table[key] = table.get(key, 0) + 1
        return table[key]


def tell(line):
    os.write(1, line.encode())


def tell_call(port, to, cause):
    """The next call on a connection from `port` was made for `cause`."""
    tell(f"call {port} {to} {count(ordinals, port)} for {cause}\n")


def handler(own, work, version):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = version
        disable_nagle_algorithm = True
        wbufsize = -1

        def do_GET(self):
            port = self.client_address[1]
            work(f"{port} {own} {count(seen, port)}")
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")
            self.wfile.flush()

        def log_message(self, *_):
            pass

    return Handler


class Threads(socketserver.ThreadingMixIn, HTTPServer):
    daemon_threads = True
    request_queue_size = 256


class Prefork(HTTPServer):
    request_queue_size = 256


def listening(kind, address, own_handler):
    server = kind(address, own_handler)
    # Its own thread shakes hands, or one slow caller would hold up all.
    if tls:
        server.socket = server_context().wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    return server


def serve_threads(host, own, work):
    """Serves for ever; `work` is called with the request that it is for."""
    server = listening(Threads, (host, own), handler(own, work, "HTTP/1.1"))
    tell("ready\n")
    server.serve_forever()


def serve_prefork(host, own, work):
    server = listening(Prefork, (host, own), handler(own, work, "HTTP/1.0"))
    signal.signal(signal.SIGTERM, stop)
    for _ in range(WORKERS - 1):
        child = os.fork()
        if child == 0:
            children.clear()
            break
        children.append(child)
    else:
        tell("ready\n")
    server.serve_forever()


def stop(*_):
    for child in children:
        os.kill(child, signal.SIGTERM)
    os._exit(0)
