"""The last service: answers as it is told, and sets secrets of its own."""
import sys, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
ledger = open(sys.argv[2], "a", buffering=1)
lock = threading.Lock()


def route(target):
    return "/" + target.lstrip("/").split("?")[0].split(";")[0].split("/")[0]


class Stock(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def serve(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        status = int(self.headers.get("X-Want", "200"))
        secret = self.headers.get("X-Secret", "")
        with lock:
            ledger.write("%s %s %d\n" % (self.command, route(self.path), status))
        body = ('{"access_token":"%s","next":"/x?token=%s"}' % (secret, secret)).encode()
        self.send_response(status, secret if status >= 400 else None)
        self.send_header("Set-Cookie", "session=%s; HttpOnly" % secret)
        self.send_header("Location", "https://user:%s@login.example/cb?code=%s" % (secret, secret))
        self.send_header("WWW-Authenticate", 'Digest nonce="%s"' % secret)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_DELETE = serve

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 128


Server(("127.0.0.1", int(sys.argv[1])), Stock).serve_forever()
