"""A Python service with one thread a connection, or one process. Arguments: threads|prefork, port, port called, calls.

Tells the truth as node.ts does.
"""
import http.client
import sys
import threading

import served

pattern, own, to, calls = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
local = threading.local()


def connected():
    connection = getattr(local, "connection", None)
    if connection is None:
        if served.tls:
            connection = http.client.HTTPSConnection("127.0.0.1", to, context=served.client_context())
        else:
            connection = http.client.HTTPConnection("127.0.0.1", to)
        local.connection = connection
    return connection


def work(cause):
    for _ in range(calls):
        connection = connected()
        connection.request("GET", "/item")
        port = connection.sock.getsockname()[1]
        connection.getresponse().read()
        served.tell_call(port, to, cause)


serve = served.serve_threads if pattern == "threads" else served.serve_prefork
serve("127.0.0.1", own, work)
