"""A Python service with one thread a connection that asks Redis, and PostgreSQL where it is given.

Arguments: its address and port, those of Redis, those of PostgreSQL. Tells the truth as chain-front.ts does.
With CHAIN_TLS=CERTIFICATE,KEY it speaks TLS to who calls and to Redis.
"""
import os
import socket
import socketserver
import ssl
import struct
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

host, own, redis_host, redis_port = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
postgresql = (sys.argv[5], int(sys.argv[6])) if len(sys.argv) > 6 else None
tls = os.environ.get("CHAIN_TLS", "")
lock = threading.Lock()
seen = {}
ordinals = {}
local = threading.local()


def count(table, key):
    with lock:
        table[key] = table.get(key, 0) + 1
        return table[key]


def tell(line):
    os.write(1, line.encode())


def redis_connection():
    connection = socket.create_connection((redis_host, redis_port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return ssl._create_unverified_context().wrap_socket(connection) if tls else connection


def connected(name, address, greet):
    connection = getattr(local, name, None)
    if connection is None:
        connection = socket.create_connection(address)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        greet(connection)
        setattr(local, name, connection)
    return connection


def ask_redis(cause):
    connection = getattr(local, "redis", None)
    if connection is None:
        connection = local.redis = redis_connection()
    port = connection.getsockname()[1]
    connection.sendall(b"*2\r\n$3\r\nGET\r\n$5\r\nstock\r\n")
    answer = b""
    while not answer.endswith(b"\r\n"):
        answer += connection.recv(4096)
    tell(f"call {port} {redis_port} {count(ordinals, port)} for {cause}\n")


def until_ready(connection):
    answer = b""
    while not answer.endswith(b"Z\x00\x00\x00\x05I"):
        answer += connection.recv(4096)


def greet_postgresql(connection):
    words = b"user\0app\0database\0postgres\0\0"
    connection.sendall(struct.pack("!ii", 8 + len(words), 196608) + words)
    until_ready(connection)


def ask_postgresql(cause):
    connection = connected("postgresql", postgresql, greet_postgresql)
    port = connection.getsockname()[1]
    query = b"SELECT name FROM items WHERE id = 7\0"
    connection.sendall(b"Q" + struct.pack("!i", 4 + len(query)) + query)
    until_ready(connection)
    tell(f"call {port} {postgresql[1]} {count(ordinals, port)} for {cause}\n")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def do_GET(self):
        port = self.client_address[1]
        cause = f"{port} {own} {count(seen, port)}"
        ask_redis(cause)
        if postgresql is not None:
            ask_postgresql(cause)
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


server = Threads((host, own), Handler)
if tls:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*tls.split(","))
    server.socket = context.wrap_socket(server.socket, server_side=True)
tell("ready\n")
server.serve_forever()
