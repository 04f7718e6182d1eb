"""An HTTP server in a thread, on a port of its own, that makes nothing of clients that go away."""

import sys
import threading
from http.server import ThreadingHTTPServer


class Server(ThreadingHTTPServer):
    """Serves until the process ends."""

    daemon_threads = True

    def __init__(self, handler):
        super().__init__(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)
