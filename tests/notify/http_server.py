"""An HTTP server for the tests: Python's own http.server, with TLS if a certificate is given.

usage: http_server.py RECORD [CERT KEY]

Listens on a free port of 127.0.0.1 and prints the port. Appends each request to RECORD as one line of JSON. The path
says what to answer:

  /gotify/message      as the Gotify API documents it: 200 and the stored message, 400 or 401 and an error
  /ok                  200
  /later/MS            200 after so many milliseconds
  /status/NNN          this status, with a short body
  /retry-after/NNN/S   this status with Retry-After: S
  /redirect/HOST       302 to http://HOST/stolen
  /silent              no answer at all, until the client goes away
  /half                the beginning of an answer, then the end of the connection
  /half-body/message   200 and half of the body that was announced
  /megabyte            400 with a megabyte of bytes that are no UTF-8, among them what the client sent as a token
"""

import http.server
import json
import ssl
import sys
import threading
import time

TOKEN = "AbCdEf123456-token"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.answer()

    def do_POST(self):
        self.answer()

    def do_PUT(self):
        self.answer()

    def answer(self):
        length = int(self.headers.get("Content-Length", "0"))
        body = self.rfile.read(length).decode("utf-8", "replace")
        record(self.command, self.path, {name.lower(): value for name, value in self.headers.items()}, body)
        parts = self.path.strip("/").split("/")
        if self.path == "/gotify/message":
            self.gotify(body)
        elif parts[0] == "status":
            self.reply(int(parts[1]), b"because of the test")
        elif parts[0] == "retry-after":
            self.reply(int(parts[1]), b"slow down", {"Retry-After": parts[2]})
        elif parts[0] == "redirect":
            self.reply(302, b"", {"Location": "http://%s/stolen" % parts[1]})
        elif parts[0] == "later":
            time.sleep(int(parts[1]) / 1000)
            self.reply(200, b"ok")
        elif self.path == "/silent":
            self.rfile.read(1)
        elif self.path == "/half":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Le")
            self.close_connection = True
        elif self.path == "/half-body/message":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"id\": 1, \"app")
            self.close_connection = True
        elif self.path == "/megabyte":
            token = self.headers.get("Authorization", "").encode()
            self.reply(400, b"\xff\xfe" + token + b"\x1b[31m\r\nX: y\r\n" + b"\xc3" * (1 << 20))
        else:
            self.reply(200, b"ok")

    def gotify(self, body):
        """The API: https://gotify.net/api-docs, createMessage."""
        if self.headers.get("X-Gotify-Key") != TOKEN:
            return self.json(401, {
                "error": "Unauthorized",
                "errorCode": 401,
                "errorDescription": "you need to provide a valid access token or user credentials to access this api",
            })
        try:
            message = json.loads(body)
            assert isinstance(message["message"], str) and message["message"]
            assert isinstance(message.get("title", ""), str)
            assert isinstance(message.get("priority", 0), int)
            assert isinstance(message.get("extras", {}), dict)
        except (ValueError, KeyError, AssertionError) as error:
            return self.json(400, {"error": "Bad Request", "errorCode": 400, "errorDescription": str(error)})
        stored = {"id": 25, "appid": 5, "date": "2026-11-24T10:20:10.250Z"}
        return self.json(200, {**message, **stored})

    def json(self, status, value):
        self.reply(status, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def reply(self, status, body, headers=None):
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        try:
            self.wfile.write(body)
        except OSError:
            pass

    def log_message(self, *_):
        pass


LOCK = threading.Lock()


def record(method, path, headers, body):
    line = json.dumps({"method": method, "path": path, "headers": headers, "body": body})
    with LOCK, open(sys.argv[1], "a", encoding="utf-8") as file:
        file.write(line + "\n")


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
if len(sys.argv) > 2:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[2], sys.argv[3])
    # The handshake belongs to the connection's own thread.
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
print(server.server_address[1], flush=True)
# It ends with the test that started it: its standard input closes.
threading.Thread(target=server.serve_forever, daemon=True).start()
sys.stdin.read()
