"""A way to an S3 that counts what passes, lets nothing unsigned through, and breaks it where it is told to."""

import contextlib
import http.client
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, urlsplit

from server import Server


class Proxy:
    """Passes requests on. `completed`, when set, is called when an upload was completed and nobody has been told yet."""

    def __init__(self, target):
        self.target = target
        self.trouble = None
        self.completed = None
        self.seen = []
        self.largest = 0
        self.url = Server(self._handler()).url

    @contextlib.contextmanager
    def broken(self, status):
        """Answers everything with this status meanwhile."""
        self.trouble = status
        try:
            yield
        finally:
            self.trouble = None

    def count(self, method, word=""):
        """How many requests with this method had the word in their path or query."""
        return sum(1 for seen, path in self.seen if seen == method and word in path)

    def _handler(self):
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def pass_on(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                proxy.seen.append((self.command, self.path))
                proxy.largest = max(proxy.largest, len(body))
                signed = "Authorization" in self.headers or "X-Amz-Signature" in self.path
                if not signed:
                    return self.answer(403, {}, b"<Error><Code>AccessDenied</Code></Error>")
                if proxy.trouble:
                    return self.answer(proxy.trouble, {}, b"<Error><Code>Trouble</Code></Error>")
                connection = http.client.HTTPConnection(proxy.target, timeout=60)
                connection.request(self.command, self.path, body, dict(self.headers))
                response = connection.getresponse()
                content = response.read()
                complete = self.command == "POST" and "uploadId" in parse_qs(urlsplit(self.path).query)
                if complete and proxy.completed:
                    hook, proxy.completed = proxy.completed, None
                    hook()
                self.answer(response.status, dict(response.headers), content)

            def answer(self, status, headers, content):
                self.send_response(status)
                for name, value in headers.items():
                    if name.lower() not in ("transfer-encoding", "content-length", "connection"):
                        self.send_header(name, value)
                length = headers.get("Content-Length") if self.command == "HEAD" else None
                self.send_header("Content-Length", length or str(len(content)))
                self.end_headers()
                try:
                    self.wfile.write(content)
                except OSError:
                    self.close_connection = True

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = pass_on

        return Handler
