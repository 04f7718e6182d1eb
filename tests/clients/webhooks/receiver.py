"""A receiver that verifies VideoGen's events with the library of PyPI. It turns the first try of each event away,
ends when every event that is named was taken, and says what it has checked.

Usage: receiver.py SECRET PREVIOUS_SECRET EVENT...
"""

import base64
import http.server
import json
import sys
import threading

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

SECRET, PREVIOUS, *WANTED = sys.argv[1:]
STRANGER = "whsec_" + base64.b64encode(b"of somebody else altogether").decode()


def refused(secret, body, headers):
    try:
        Webhook(secret).verify(body, headers)
    except WebhookVerificationError:
        return True
    return False


def verify(body, headers):
    """Fails unless the event is signed by both secrets and by nothing else."""
    for secret in (SECRET, PREVIOUS):
        assert Webhook(secret).verify(body, headers) == json.loads(body)
        for at in range(0, len(body), max(1, len(body) // 50)):
            altered = body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]
            assert refused(secret, altered, headers), f"byte {at} was altered and nobody noticed"
        for name, other in (("webhook-id", "evt_other"), ("webhook-timestamp", str(int(headers["webhook-timestamp"]) - 1))):
            assert refused(secret, body, {**headers, name: other}), f"another {name} was taken"
    assert refused(STRANGER, body, headers), "a stranger's secret verifies"


class Receiver(http.server.BaseHTTPRequestHandler):
    tried = {}
    taken = {}
    failure = None
    done = threading.Event()

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        headers = {name: self.headers[name] for name in ("webhook-id", "webhook-timestamp", "webhook-signature")}
        try:
            verify(body, headers)
            event = headers["webhook-id"]
            again = self.tried.setdefault(event, body)
            assert again == body, "a further try has another body"
            status = 200 if self.tries(event) > 1 else 500
        except Exception as error:  # noqa: BLE001
            Receiver.failure = repr(error)
            self.done.set()
            raise
        self.send_response(status)
        self.end_headers()
        if status == 200:
            self.taken[event] = json.loads(body)["type"]
            if sorted(self.taken.values()) == sorted(WANTED):
                self.done.set()

    counts = {}

    def tries(self, event):
        self.counts[event] = self.counts.get(event, 0) + 1
        return self.counts[event]

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
print(f"listening receiver=127.0.0.1:{server.server_port}", flush=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
in_time = Receiver.done.wait(120)
if Receiver.failure or not in_time:
    print(f"not ok: {Receiver.failure or 'not every event came'}; taken {sorted(Receiver.taken.values())}", flush=True)
    sys.exit(1)
for event, kind in sorted(Receiver.taken.items()):
    print(f"ok {kind} {event}: {Receiver.counts[event]} tries, verified with both secrets, every altered one refused")
