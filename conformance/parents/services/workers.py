"""A Python service that reads on one thread a connection, and calls and answers on workers behind a queue.

Arguments: queue|stages, port, port called, calls. By `stages` the answer is a piece of work of its own, which any worker
may take. Tells the truth as node.ts does.
"""
import http.client
import os
import queue
import socket
import sys
import threading

pattern, own, to, calls = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
WORKERS = 8
lock = threading.Lock()
ordinals = {}
local = threading.local()
work = queue.Queue()


def tell(line):
    os.write(1, line.encode())


def call(cause):
    connection = getattr(local, "connection", None)
    if connection is None:
        connection = local.connection = http.client.HTTPConnection("127.0.0.1", to)
    connection.request("GET", "/item")
    port = connection.sock.getsockname()[1]
    connection.getresponse().read()
    with lock:
        ordinals[port] = ordinals.get(port, 0) + 1
        tell(f"call {port} {to} {ordinals[port]} for {cause}\n")


def answer(connection):
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


def handle(connection, cause):
    for _ in range(calls):
        call(cause)
    if pattern == "stages":
        work.put((answer, connection))
    else:
        answer(connection)


def serve():
    while True:
        step, *rest = work.get()
        step(*rest)


def read(connection, port):
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    held, count = b"", 0
    while True:
        got = connection.recv(65536)
        if not got:
            return
        held += got
        while b"\r\n\r\n" in held:
            held = held.split(b"\r\n\r\n", 1)[1]
            count += 1
            work.put((handle, connection, f"{port} {own} {count}"))


for _ in range(WORKERS):
    threading.Thread(target=serve, daemon=True).start()
listener = socket.create_server(("127.0.0.1", own), backlog=256)
tell("ready\n")
while True:
    accepted, (_, peer) = listener.accept()
    threading.Thread(target=read, args=(accepted, peer), daemon=True).start()
