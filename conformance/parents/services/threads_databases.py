"""A Python service with one thread a connection that asks Redis, and PostgreSQL where it is given.

Arguments: its address and port, those of Redis, those of PostgreSQL. Tells the truth as node.ts does. What it says to
PostgreSQL is never sealed.
"""
import socket
import struct
import sys
import threading

import served

host, own, redis_host, redis_port = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
postgresql = (sys.argv[5], int(sys.argv[6])) if len(sys.argv) > 6 else None
local = threading.local()


def connected(name, address, greet):
    connection = getattr(local, name, None)
    if connection is None:
        connection = socket.create_connection(address)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = greet(connection)
        setattr(local, name, connection)
    return connection


def greet_redis(connection):
    return served.client_context().wrap_socket(connection) if served.tls else connection


def ask_redis(cause):
    connection = connected("redis", (redis_host, redis_port), greet_redis)
    connection.sendall(b"*2\r\n$3\r\nGET\r\n$5\r\nstock\r\n")
    answer = b""
    while not answer.endswith(b"\r\n"):
        answer += connection.recv(4096)
    served.tell_call(connection.getsockname()[1], redis_port, cause)


def until_ready(connection):
    answer = b""
    while not answer.endswith(b"Z\x00\x00\x00\x05I"):
        answer += connection.recv(4096)


def greet_postgresql(connection):
    words = b"user\0app\0database\0postgres\0\0"
    connection.sendall(struct.pack("!ii", 8 + len(words), 196608) + words)
    until_ready(connection)
    return connection


def ask_postgresql(cause):
    connection = connected("postgresql", postgresql, greet_postgresql)
    query = b"SELECT name FROM items WHERE id = 7\0"
    connection.sendall(b"Q" + struct.pack("!i", 4 + len(query)) + query)
    until_ready(connection)
    served.tell_call(connection.getsockname()[1], postgresql[1], cause)


def work(cause):
    ask_redis(cause)
    if postgresql is not None:
        ask_postgresql(cause)


served.serve_threads(host, own, work)
