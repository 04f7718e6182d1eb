"""As much of an S3, of Google's and of Azure's store as one file needs. It keeps parts on the disk: moto keeps them in
memory, and speaks for Amazon alone."""

import hashlib
import itertools
import pathlib
import re
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, unquote, urlsplit

from server import Server

PIECE = 1 << 20


class Sink:
    """Listens on a port of its own and keeps everything in this folder."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.numbers = itertools.count(1)
        self.objects = {}
        self.url = Server(self._handler()).url

    def block(self, path, name):
        """Where a block of Azure's is kept."""
        return self.folder / hashlib.sha256(f"{path} {name}".encode()).hexdigest()

    def _handler(self):
        sink = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass


            def parts(self):
                return sink.objects.get(unquote(urlsplit(self.path).path))

            def words(self):
                return {key: values[0] for key, values in parse_qs(urlsplit(self.path).query, True).items()}

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
                path, words = unquote(urlsplit(self.path).path), self.words()
                if words.get("comp") == "batch":
                    return self.batch(re.findall(r"DELETE (\S+) HTTP", body))
                if "uploads" in words:
                    number = str(next(sink.numbers))
                    (sink.folder / number).mkdir()
                    text = f"<InitiateMultipartUploadResult><UploadId>{number}</UploadId></InitiateMultipartUploadResult>"
                else:
                    sink.objects[path] = sorted((sink.folder / words["uploadId"]).iterdir())
                    text = "<CompleteMultipartUploadResult><ETag>e</ETag></CompleteMultipartUploadResult>"
                self.answer(200, text.encode())

            def batch(self, targets):
                """Azure's way of removing: each request is a part of one body, and so is each answer."""
                parts = ""
                for number, target in enumerate(targets):
                    found = sink.objects.pop(unquote(urlsplit(target).path), None)
                    status = "404 The specified blob does not exist." if found is None else "202 Accepted"
                    parts += f"--b\r\nContent-ID: {number}\r\n\r\nHTTP/1.1 {status}\r\n\r\n"
                self.answer(202, f"{parts}--b--\r\n".encode(), kind="multipart/mixed; boundary=b")

            def do_PUT(self):
                words, left = self.words(), int(self.headers["Content-Length"])
                path = unquote(urlsplit(self.path).path)
                if words.get("comp") == "blocklist":
                    named = re.findall(r"<(?:Latest|Uncommitted)>([^<]+)<", self.rfile.read(left).decode())
                    sink.objects[path] = [sink.block(path, name) for name in named]
                    return self.answer(201)
                if words.get("comp") == "block":
                    part = sink.block(path, words["blockid"])
                else:
                    part = sink.folder / words["uploadId"] / f"{int(words['partNumber']):06}"
                with open(part, "wb") as part:
                    while left:
                        piece = self.rfile.read(min(left, PIECE))
                        left -= len(piece)
                        part.write(piece)
                self.answer(201 if "comp" in words else 200)

            def do_DELETE(self):
                found = sink.objects.pop(unquote(urlsplit(self.path).path), None)
                self.answer(404 if found is None and "uploadId" not in self.path else 204)

            def do_HEAD(self):
                parts = self.parts()
                if parts is None:
                    return self.answer(404)
                self.answer(200, length=sum(part.stat().st_size for part in parts))

            def do_GET(self):
                parts = self.parts()
                if parts is None:
                    listed = {"list-type": b"<ListBucketResult/>", "restype": b"<EnumerationResults><Blobs/></EnumerationResults>"}
                    found = next((text for word, text in listed.items() if word in self.words()), None)
                    return self.answer(200, found) if found else self.answer(404)
                sizes = [part.stat().st_size for part in parts]
                begin = re.match(r"bytes=(\d+)-", self.headers.get("Range") or "bytes=0-")
                skip = int(begin[1])
                self.answer(206 if "Range" in self.headers else 200, length=sum(sizes) - skip, skip=skip, whole=sum(sizes))
                for path, size in zip(parts, sizes):
                    if skip >= size:
                        skip -= size
                        continue
                    with open(path, "rb") as part:
                        part.seek(skip)
                        skip = 0
                        while piece := part.read(PIECE):
                            self.wfile.write(piece)

            def answer(self, status, content=b"", length=None, skip=0, whole=None, kind="application/xml"):
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("ETag", '"e"')
                self.send_header("Last-Modified", "Tue, 24 Nov 2026 00:00:00 GMT")
                self.send_header("Content-Length", str(len(content) if length is None else length))
                if status == 206:
                    self.send_header("Content-Range", f"bytes {skip}-{whole - 1}/{whole}")
                self.end_headers()
                if length is None and self.command != "HEAD":
                    self.wfile.write(content)

        return Handler
