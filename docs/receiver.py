"""A receiver of webhooks: verifies who sent them, drops repeats, prints what is new as lines of JSON.

pip install standardwebhooks; WEBHOOK_SECRET=whsec_... python receiver.py 8080
"""

import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock

from standardwebhooks import Webhook, WebhookVerificationError

WEBHOOK = Webhook(os.environ["WEBHOOK_SECRET"])
SEEN: set[str] = set()  # in earnest: a unique column, written in one transaction with what the event changes
LOCK = Lock()


class Receiver(BaseHTTPRequestHandler):
    protocol_version, timeout = "HTTP/1.1", 60

    def do_POST(self) -> None:
        body = self.rfile.read(min(int(self.headers.get("Content-Length", 0)), 1 << 24))
        try:
            given = WEBHOOK.verify(body, dict(self.headers))  # the body as it came, before anybody parses it
        except (WebhookVerificationError, ValueError):
            return self.answer(401)
        with LOCK:
            for event in given if isinstance(given, list) else [given]:  # one event, or a batch in order
                if event["id"] not in SEEN:
                    print(json.dumps(event, ensure_ascii=False), flush=True)
                    SEEN.add(event["id"])
        return self.answer(204)  # only now: whatever is not answered with 2xx comes again

    def answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()


with ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Receiver) as server:
    print(f"listening on {server.server_port}", file=sys.stderr, flush=True)
    server.serve_forever()
